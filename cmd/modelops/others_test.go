package main

import (
	"slices"
	"testing"
	"time"

	"modelops/messages"
)

// Each member that can't be reached is told of once: by the note that says what to do, or by the reason.
func TestTroublesOfTheCluster(t *testing.T) {
	v := &messages.ClusterView{Notes: []string{"pc3 hasn't been heard for 20s: is it on?", "the clock of pc4 differs"}, Members: []*messages.MemberView{
		{Host: "main_pc", Self: true, State: messages.MemberView_alive},
		{Host: "pc2", State: messages.MemberView_unreachable, Reason: "it has not been heard for 2s"},
		{Host: "pc3", State: messages.MemberView_unreachable, Reason: "it has not been heard for 20s"},
		{Host: "pc4", State: messages.MemberView_alive},
		{Host: "pc5", State: messages.MemberView_gone, Reason: "it left"},
	}}
	want := []string{"host pc2: it has not been heard for 2s", "pc3 hasn't been heard for 20s: is it on?", "the clock of pc4 differs"}
	if got := troublesOf(v); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// What was never copied has no age: counted from the zero time, it was 292 years.
func TestAgeOf(t *testing.T) {
	now := time.UnixMilli(5000)
	for at, want := range map[time.Time]int64{{}: 0, now.Add(-time.Second): 1000, now.Add(time.Second): 0} {
		if got := ageOf(at, now); got != want {
			t.Errorf("%s: %d ms", at, got)
		}
	}
}
