package modelops

import (
	"go/ast"
	"testing"
)

// backgrounds are the files that may begin a life of their own, and why.
var backgrounds = map[string]string{
	"actors/entity/shell.go":            "the actor's life, and an append that outlives it",
	"actors/gateway/examine_effects.go": "a trial of a worker belongs to no request",
	"actors/gateway/locked.go":          "a grant's end is its own; hints to actors follow no request",
	"actors/gateway/seek.go":            "a question for a place ends with the last request that waits for it",
	"actors/tree/tree.go":               "the supervisor's report has no caller",
	"bridges/access/oidc.go":            "an issuer's keys serve requests after the one that asks for them",
	"bridges/engine/serve.go":           "shutting down begins when the serving context is over",
	"bridges/runtime/files.go":          "what a file says is for all who ask for its model later",
	"bridges/forward/conn.go":           "another host's request begins, and ends with its stream",
	"bridges/forward/line.go":           "the life of a connection to a host until close",
	"bridges/forward/server.go":         "the life of the handlers until Stop",
	"bridges/nats/api.go":               "the door's life until Close",
	"bridges/peer/peers.go":             "the life of the links until Close",
	"bridges/rest/operations.go":        "generated routes take a context and use none",
	"bridges/process/supervisor.go":     "a reaper outlives the request that started the process",
	"bridges/nats/call.go":              "a log line about a call that is over",
	"cmd/modelops/cli/serve.go":         "stopping begins when the serving context is over",
	"cmd/modelops/cli/upgrade.go":       "stopping begins when the serving context is over",
	"cmd/modelops/daemon.go":            "the process's life",
	"cmd/modelops/main.go":              "the process's life",

	"actors/entity/entitytest/world.go": "a test bench lives as long as its test",
}

func TestHouseContextsComeFromCallers(t *testing.T) {
	r := newRule(t, "Rule: context.Background only where a life begins. Reason: a request's context is its life; a fresh one can't be cancelled by its caller. "+
		"Instead: take ctx from the caller, or add the file with its reason to backgrounds.")
	for _, s := range house(t) {
		if s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && called(sel, "context", "Background", "TODO") {
				r.matched++
				if backgrounds[s.path] == "" {
					r.broken("%s:%d makes a context of its own", s.path, s.line(n))
				}
			}
			return true
		})
	}
	r.atLeast(5)
}
