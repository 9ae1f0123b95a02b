package main

import (
	"testing"
	"time"

	"modelops/actors/view"
	"modelops/messages"
)

// A host that starts reports nothing until its actors have recovered: its models would count as withdrawn.
func TestNoReportBeforeRecovery(t *testing.T) {
	over := false
	r := recoveredReporter{over: func() bool { return over }, Reporter: view.Reporter{Host: "pc2", BootID: "one", View: view.New(view.Options{}), Now: time.Now,
		Ledgers: view.Ledgers{Host: "pc2", View: view.New(view.Options{}), Now: time.Now, Live: func() []*messages.ModelView { return nil }, Seeking: func() []*messages.Allocation { return nil }},
		Queue:   func() *messages.QueueView { return &messages.QueueView{} }}}
	if _, err := r.Report(t.Context(), &messages.ReportRequest{}); messages.CodeOf(err) != messages.Unavailable {
		t.Errorf("while it starts: %v", err)
	}
	over = true
	if a, err := r.Report(t.Context(), &messages.ReportRequest{}); err != nil || !a.Snapshot {
		t.Errorf("afterwards: %v, %v", a, err)
	}
}
