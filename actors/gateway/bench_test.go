package gateway

import (
	"context"
	"testing"

	"modelops/messages"
)

// BenchmarkAdmitRelease is the gateway's own part of a warm request: a free place is taken and given back. Compare it in one run with
// the commit before a change.
func BenchmarkAdmitRelease(b *testing.B) {
	for name, replicas := range map[string][]string{"one worker": nil, "three workers": {"tiny~2", "tiny~3"}} {
		b.Run(name, func(b *testing.B) {
			g, _ := rig(64, "ready")
			for _, r := range replicas {
				g.Update(worker(r, 1, "ready"))
			}
			b.ReportAllocs()
			for b.Loop() {
				admitOnce(b, g)
			}
		})
		b.Run(name+", parallel", func(b *testing.B) {
			g, _ := rig(64, "ready")
			for _, r := range replicas {
				g.Update(worker(r, 1, "ready"))
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					admitOnce(b, g)
				}
			})
		})
	}
}

func admitOnce(b *testing.B, g *Gateway) {
	grant, err := g.Admit(context.Background(), "tiny")
	if err != nil {
		b.Error(err)
		return
	}
	grant.Release(messages.Outcome{})
}
