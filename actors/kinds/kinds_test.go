package kinds

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// example is an actor of a kind, as people write it.
func example(t *testing.T, kind string) messages.ActorID {
	i := slices.IndexFunc(messages.Kinds(), func(k messages.KindInfo) bool { return k.Name == kind })
	if i < 0 {
		t.Fatalf("%s is registered, and no proto file speaks for it", kind)
	}
	id, err := messages.ParseActorID(messages.Kinds()[i].Example)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Every registered fold begins with an empty state that can be shown, and that a snapshot can hold.
func TestEveryKindFoldsFromNothing(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		if f.Version == 0 || f.Fingerprint == "" || seen[f.Name] {
			t.Errorf("%s: version %d, fingerprint %q, twice %t", f.Name, f.Version, f.Fingerprint, seen[f.Name])
		}
		seen[f.Name] = true
		id := example(t, f.Name)
		if found, err := FoldOf(id); err != nil || found.Name != f.Name {
			t.Errorf("%s: %v", f.Name, err)
		}
		state := f.New(id)
		if _, err := json.Marshal(state); err != nil || f.View(state) == nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

// Every event name on disk begins with the kind that writes it, and that kind is registered: no journaled event is left without a fold. Nothing
// writes the events of a kind whose room isn't built yet.
func TestEveryEventHasAKind(t *testing.T) {
	for _, name := range messages.EventNames() {
		kind, _, _ := strings.Cut(name, ".")
		if _, err := os.Stat("../" + kind); err != nil {
			continue
		}
		if _, err := FoldOf(messages.ActorID{Kind: kind}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAKindWithoutAJournalHasNoFold(t *testing.T) {
	if _, err := FoldOf(messages.ActorID{Kind: messages.KindGateway, ID: "pc"}); messages.CodeOf(err) != messages.InvalidArgument {
		t.Error(err)
	}
}
