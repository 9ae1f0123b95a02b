package explain

import (
	"fmt"

	"modelops/messages"
)

// movesOn says where victims are loaded once they have left.
func movesOn(list []*messages.Move) string {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = short(m.Holder) + " " + movesTo(m)
	}
	return enumerate(out)
}

func movesTo(m *messages.Move) string {
	return fmt.Sprintf("moves to %s of %s, which had %s free for the %s that it held", short(m.To), hostOf(m.To), mib(m.FreeBytes), mib(m.Bytes))
}

// moveOf is a victim's move; nil when it just leaves.
func moveOf(e *messages.PlacementDecided, model string) *messages.Move {
	for _, m := range e.GetMoves() {
		if m.Holder == model {
			return m
		}
	}
	return nil
}
