package view

import (
	"slices"
	"testing"

	"modelops/messages"
)

// TestViewsShowLastWords: the journal doesn't hold what a worker wrote, so the view reads it where the worker wrote it.
func TestViewsShowLastWords(t *testing.T) {
	p := New(Options{LastWords: func(file string) (string, []string) {
		if file == "gone.log" {
			return "", nil
		}
		return "why in " + file, []string{"first", "why in " + file}
	}})
	for name, c := range map[string]struct {
		given, want *messages.ModelView
	}{
		"its worker has served": {&messages.ModelView{LogFile: "a.log"}, &messages.ModelView{}}, // it may have written prompts
		"it failed to load":     {&messages.ModelView{Error: &messages.ErrorBody{Message: "exit code 1", LogFile: "b.log"}}, &messages.ModelView{LogTail: []string{"first", "why in b.log"}, Error: &messages.ErrorBody{Message: "exit code 1; it said: why in b.log", Log: []string{"first", "why in b.log"}}}},
		"its log is gone":       {&messages.ModelView{Error: &messages.ErrorBody{Message: "exit code 1", LogFile: "gone.log"}}, &messages.ModelView{Error: &messages.ErrorBody{Message: "exit code 1"}}},
		"it has no worker":      {&messages.ModelView{Error: &messages.ErrorBody{Message: "no such file"}}, &messages.ModelView{Error: &messages.ErrorBody{Message: "no such file"}}},
		"nothing has happened":  {&messages.ModelView{}, &messages.ModelView{}},
	} {
		t.Run(name, func(t *testing.T) {
			id := messages.ModelActor("h", "m")
			given := c.given.GetError().GetMessage()
			p.StateChanged(id, 1, c.given)
			got := p.Model(id)
			if !slices.Equal(got.LogTail, c.want.LogTail) || got.GetError().GetMessage() != c.want.GetError().GetMessage() || !slices.Equal(got.GetError().GetLog(), c.want.GetError().GetLog()) {
				t.Errorf("shows %v, want %v", got, c.want)
			}
			if c.given.GetError().GetMessage() != given {
				t.Error("the actor's own view was changed")
			}
		})
	}
}
