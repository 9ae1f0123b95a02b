//go:build e2e

package e2e_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"modelops/messages"
)

// TestCrashedActors: a panic in any actor is an answer to its caller, and after it everything is as it was.
func TestCrashedActors(t *testing.T) {
	d := start(t, oneTiny)
	pid := d.awaitPhase("tiny", "ready").Worker.Pid
	d.calm()
	nc := d.nats()
	gpu := messages.GPUActor("main_pc", d.status().Gpus[0].Device)
	for _, id := range []messages.ActorID{
		modelID("tiny"), gpu, messages.HostActor("main_pc"), messages.ArbiterActor(), {Kind: messages.KindGateway, ID: "main_pc"},
	} {
		t.Run(id.Kind, func(t *testing.T) {
			d := d.in(t)
			before, err := view(nc, id)
			if err != nil {
				t.Fatal(err)
			}
			restarts := d.metric("modelops_actor_restarts_total", `kind="`+id.Kind+`"`)
			_, err = command(nc, id, &messages.Crash{Reason: "drill"})
			if err == nil {
				t.Error("the crash was answered as if nothing had happened")
			}
			if strings.Contains(fmt.Sprint(err), "no answer within") {
				t.Errorf("the caller waited for an answer that never came: %v", err)
			}
			d.until(waitLimit, "it is back", func() bool {
				after, err := view(nc, id)
				return err == nil && timeless(after) == timeless(before) && after.Sequence == before.Sequence
			})
			d.answers("tiny")
			d.until(waitLimit, "the restart was counted", func() bool {
				return d.metric("modelops_actor_restarts_total", `kind="`+id.Kind+`"`) > restarts
			})
		})
	}
	if now := d.awaitPhase("tiny", "ready").Worker.Pid; now != pid {
		t.Errorf("the worker is %d, before the crashes it was %d", now, pid)
	}
	// An actor that was down still takes orders.
	d.unload("tiny")
	d.answers("tiny")
}

var idleTime = regexp.MustCompile(`"idleMs":\s*"\d+"`)

// timeless is a state without what only time changes.
func timeless(v *messages.StateReply) string { return idleTime.ReplaceAllString(v.StateJson, "") }

// TestCrashMeansNoHarmToRequests: requests that run while actors crash are not touched.
func TestCrashMeansNoHarmToRequests(t *testing.T) {
	d := start(t, oneTiny)
	d.answers("slow")
	next := d.streaming("slow")
	nc := d.nats()
	for _, id := range []messages.ActorID{modelID("slow"), messages.ArbiterActor(), {Kind: messages.KindGateway, ID: "main_pc"}} {
		if _, err := command(nc, id, &messages.Crash{Reason: "drill"}); err == nil {
			t.Errorf("%s: no error", id)
		}
	}
	var last string
	for range 1000 {
		line, err := next()
		if err != nil {
			break
		}
		last = line
	}
	if last != "data: [DONE]" {
		t.Errorf("the stream ended with %q", last)
	}
}
