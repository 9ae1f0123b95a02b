package simulator

import (
	"testing"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// Idle models leave for what other programs take only where that is asked for. A worker that grows is measured again, and isn't foreign.
func TestOtherProgramsPushModelsOutOnlyWhereAsked(t *testing.T) {
	for _, asked := range []bool{false, true} {
		o := oneCard(plain("a", 8))
		o.ForeignPressure = asked
		s := onStage(t, o)
		s.ready("a")
		s.workers[0].parts[0].bytes += messages.GiB
		s.lasts(3 * time.Second)
		if grown := s.views[0].MeasuredBytes; grown != 9*messages.GiB {
			t.Errorf("measured %s", messages.FormatBytes(grown))
		}
		s.devices[0].foreign = 13 * messages.GiB
		s.lasts(20 * time.Second)
		if left := s.phase("a") == model.Absent; left != asked {
			t.Errorf("asked %t: a is %s", asked, s.phase("a"))
		}
		if seen := s.ledgers[0].state.Foreign; seen != 13*messages.GiB {
			t.Errorf("the ledger takes %s for foreign", messages.FormatBytes(seen))
		}
		s.rests()
	}
}
