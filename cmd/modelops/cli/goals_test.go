package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// What a flag doesn't say is no part of the request, so that a change leaves it.
func TestGoalFlags(t *testing.T) {
	f := pflag.NewFlagSet("goals", pflag.ContinueOnError)
	g := newGoalFlags(f)
	if err := f.Parse([]string{"--model", "tiny", "--at-most", "0.5", "--runs", "3", "--param", "lr=1", "--search", "rank=4,8", "--search", "lr=log:1e-4..1e-2"}); err != nil {
		t.Fatal(err)
	}
	r, err := g.request(f)
	if err != nil || r.GetModel() != "tiny" || r.GetComparison() != "at_most" || r.GetValue() != 0.5 || r.GetBudgetRuns() != 3 || r.Recipe != nil || r.Deadline != nil || r.Parameters.Fields["lr"].GetStringValue() != "1" ||
		len(r.Search) != 2 || r.Search[0].Values[1] != "8" || !r.Search[1].Log || r.Search[1].High != 0.01 {
		t.Errorf("%v, %v", r, err)
	}
	for _, wrong := range []string{"lr", "=1", "lr=", "lr=a..b"} {
		if d, err := dimension(wrong); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q is %v, %v", wrong, d, err)
		}
	}
}

// The example's data are those that the trainer is tested with, and its flags can be changed.
func TestExampleGoal(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	r, err := exampleGoal(&messages.GoalRequest{BudgetRuns: proto.Int32(1)})
	if err != nil || r.GetBudgetRuns() != 1 || r.GetRecipe() != "lora" || r.GetRollout() != "auto" {
		t.Fatalf("%v, %v", r, err)
	}
	for _, path := range []string{r.GetDataset(), r.GetEvalDataset()} {
		got, err := os.ReadFile(path)
		want, err2 := os.ReadFile(filepath.Join("../../../testdata/train", filepath.Base(path)))
		if err != nil || err2 != nil || string(got) != string(want) {
			t.Errorf("%s differs: %v, %v", path, err, err2)
		}
	}
}
