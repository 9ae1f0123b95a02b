package cli

import (
	"testing"
	"time"

	"modelops/messages"
)

// Of several hosts, each row says whose it is, and what a host that can't be reached shows says how old it is.
func TestTwoHostsAreShown(t *testing.T) {
	models := []*messages.ModelView{
		{Id: "model/main_pc/tiny", Host: "main_pc", Name: "tiny", Phase: messages.ModelView_ready, Active: 2, Spec: &messages.ModelSpec{Path: "/tiny.gguf"}},
		{Id: "model/pc2/big", Host: "pc2", Name: "big", Phase: messages.ModelView_loading, Spec: &messages.ModelSpec{Path: "/big.gguf"}},
	}
	old := []*messages.HostSaid{{Host: "pc2", AgeMs: 5000, Stale: true, Active: 1, Queued: 4}}
	says(t, `
HOST     NAME  PHASE    DEVICE  MEMORY  ACTIVE  QUEUED  SINCE  PINNED  PID
main_pc  tiny  ready    -       -       2       0       -      -       -
pc2      big   loading  -       -       0       0       -      -       -
pc2 can't be reached: what it shows is 5.0s old
`, func(c *cli) error { defer c.printStale(old); return c.printResident(models, old, noon) })
	says(t, `
HOST     MODEL  REQUEST  STATE    CLASS  CALLER  PLACE  WAITED  EXPECTED  WAITS FOR
main_pc  tiny   r1       running  -      -       -      1.0s    -         -
pc2      big    r2       waiting  -      -       1      2.0s    unknown   loading
on this host: 1 running, 0 waiting
pc2 can't be reached: what it shows is 5.0s old
`, func(c *cli) error {
		return c.printQueue(&messages.QueueView{Active: 1, Hosts: old, Requests: []*messages.QueuedRequest{
			{Host: "main_pc", RequestId: "r1", Model: "tiny", State: "running", WaitedMs: 1000}, {Host: "pc2", RequestId: "r2", Model: "big", State: "waiting", Position: 1, WaitedMs: 2000, WaitsFor: "loading"}}}, "")
	})
	if got := narrowed(models, "pc2"); len(got) != 1 || got[0].Name != "big" {
		t.Errorf("of pc2: %v", got)
	}
	if got := otherHost(old[0]); got != "pc2, said "+lasting(5*time.Second)+" ago: 1 running, 4 waiting; it can't be reached" {
		t.Error(got)
	}
}

// Of a name that several hosts have, the daemon's own model is meant, unless another host is named.
func TestWhoseModelIsMeant(t *testing.T) {
	said := func() *messages.StatusView {
		return &messages.StatusView{Host: &messages.HostView{Host: "pc2"}, Models: []*messages.ModelView{
			{Host: "main_pc", Name: "both"}, {Host: "main_pc", Name: "far"}, {Host: "pc2", Name: "both"}}}
	}
	for _, c := range []struct{ name, host, want string }{{"both", "", "pc2"}, {"both", "main_pc", "main_pc"}, {"far", "", "main_pc"}, {"far", "pc2", ""}, {"none", "", ""}} {
		m, err := meant(said(), c.name, c.host)
		if m.GetHost() != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %v, %v", c, m, err)
		}
	}
}

// An end on another day is told with its day: a token may be good for a week.
func TestAnEndIsToldWithItsDay(t *testing.T) {
	if got := clock(noon.Add(time.Minute), noon); got != noon.Add(time.Minute).Format(time.TimeOnly) {
		t.Error(got)
	}
	if got := clock(noon.Add(7*24*time.Hour), noon); got != noon.Add(7*24*time.Hour).Format(time.DateTime) {
		t.Error(got)
	}
}
