package simulator

import (
	"reflect"
	"testing"
	"time"

	"modelops/messages"
)

// hosts are some hosts of a cluster, with a crowded device each.
func hosts(seed uint64, n int) Options {
	return Options{Seed: seed, Hosts: n, Devices: []uint64{16 * messages.GiB}, Rate: 1, MaxWait: 2 * time.Second, DrainTimeout: 2 * time.Second, Faults: Rough(),
		Links: Links{Every: 10 * time.Second}, KeepWarm: 10 * time.Minute, Models: []Model{
			{Name: "a", Estimate: 4 * messages.GiB, Truth: 4 * messages.GiB, Load: time.Second, Weight: 3},
			{Name: "b", Estimate: 8 * messages.GiB, Truth: 7 * messages.GiB, Load: time.Second, Idle: 5 * time.Second},
			{Name: "c", Estimate: 12 * messages.GiB, Truth: 13 * messages.GiB, Load: 2 * time.Second},
			{Name: "d", Estimate: 6 * messages.GiB, Truth: 6 * messages.GiB, Load: 2 * time.Second, MaxReplicas: 2, Places: 1},
		}}
}

// cutOnly are hosts where nothing goes wrong but links.
func cutOnly(seed uint64, n int) Options {
	o := hosts(seed, n)
	o.Faults = Faults{}
	return o
}

func TestHostsStaySafeAndAgreeAgain(t *testing.T) {
	began, taken := time.Now(), 0
	for seed := uint64(1); taken < stepsWanted(t)/2; seed++ {
		o := []func(uint64, int) Options{hosts, cutOnly}[seed%2](seed, 2+int(seed/2%4))
		c := NewCluster(o)
		if err := c.Run(t.Context(), 4*perWorld); err != nil {
			t.Fatal(err)
		}
		if err := c.Calm(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := c.Summary()
		t.Logf("seed %d, %d hosts, %.0f s: %d troubles, %d take-overs, %d equal epochs, %d passed on", seed, s.Hosts, s.VirtualSec, s.Troubles, s.TakeOvers, s.Equals, s.Passed)
		taken += c.steps
	}
	t.Logf("%d steps, %.0f a second", taken, float64(taken)/time.Since(began).Seconds())
}

// As many hosts as modelops simulate takes. What each of them costs grows with their number, so that this test takes minutes when that isn't watched.
func TestThirtyTwoHostsComeToRest(t *testing.T) {
	o := hosts(1, 32)
	o.Models = o.Models[:1] // each is asked for at each host in the end
	c := NewCluster(o)
	if err := c.Run(t.Context(), 20_000); err != nil {
		t.Fatal(err)
	}
	if err := c.Calm(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d steps, %s", c.steps, c.elapsed)
}

func TestTheSameSeedIsTheSameCluster(t *testing.T) {
	run := func() ClusterSummary {
		c := NewCluster(hosts(7, 3))
		if err := c.Run(t.Context(), 5000); err != nil {
			t.Fatal(err)
		}
		return c.Summary()
	}
	if a, b := run(), run(); !reflect.DeepEqual(a, b) {
		t.Errorf("one seed, two clusters:\n%+v\n%+v", a, b)
	}
}
