package lineage

import (
	"context"
	"strings"
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

var tiny = messages.ActorID{Kind: messages.KindLineage, ID: "main_pc/tiny"}

func TestStories(t *testing.T) {
	entitytest.Play(t, "../../testdata/lineage", func() entitytest.Stage { return entitytest.Drive(Kind(Rules{Keep: 1}, World{}), tiny) })
}

// shelf plays the files and the runs.
type shelf struct{ err error }

func (s shelf) Store(context.Context, string, uint32, *messages.VersionOrigin) (string, string, uint64, error) {
	return "/v/1", "sum", 7, s.err
}
func (s shelf) Remove(context.Context, string, uint32) (uint64, error) { return 7, s.err }
func (s shelf) Await(context.Context, string, uint32) (*messages.GoalRun, error) {
	return &messages.GoalRun{Result: messages.GoalRun_lost, Reason: "no better", BaseVersion: "tiny"}, s.err
}

// What can't be stored or judged for ever is reported, and what may pass is owed still.
func TestWhatIsDone(t *testing.T) {
	busy, gone := messages.NewError(messages.Unavailable, "", "not now"), messages.NewError(messages.NotFound, "", "it is gone")
	version := func(state messages.ModelVersion_State) State {
		return State{ID: tiny, Versions: []*messages.ModelVersion{{Number: 1, Name: "tiny@1", State: state}}}
	}
	for name, c := range map[string]struct {
		s    State
		err  error
		want string
	}{
		"a file is kept":          {version(Storing), nil, `ReportVersionStored version:1 path:"/v/1" sha256:"sum" bytes:7`},
		"it is gone":              {version(Storing), gone, `ReportVersionFailed version:1 error:{code:"NOT_FOUND" message:"it is gone"}`},
		"the disk is full":        {version(Storing), busy, "UNAVAILABLE"},
		"a run has ended":         {version(Registered), nil, `ReportVersionJudged version:1 result:"lost" reason:"no better" against:"tiny"`},
		"its goal is forgotten":   {version(Registered), gone, `ReportVersionJudged version:1 result:"unknown" reason:"it is gone"`},
		"it can't be asked":       {version(Registered), busy, "UNAVAILABLE"},
		"a file is removed":       {version(Dropped), nil, `ReportVersionRemoved version:1 freed_bytes:7`},
		"it can't be removed now": {version(Dropped), busy, "UNAVAILABLE"},
	} {
		owed := Owed(c.s)
		if len(owed) != 1 {
			t.Fatalf("%s: owes %v", name, owed)
		}
		r, err := World{shelf{c.err}, shelf{c.err}}.perform(t.Context(), owed[0])
		got := ""
		if err != nil {
			got = messages.CodeOf(err).String()
		} else {
			got = string(r.ProtoReflect().Descriptor().Name()) + " " + strings.Join(strings.Fields(r.(interface{ String() string }).String()), " ")
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
