package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"modelops/messages"
)

func arbiterText(f fact, model string) string {
	switch e := f.event.(type) {
	case *messages.PlacementDecided:
		return decidedText(e, model)
	case *messages.PlacementPostponed:
		return fmt.Sprintf("%s has to wait: %s", cmp.Or(attempt(e.Claim), "it"), e.Reason)
	case *messages.PressureRelieved:
		return fmt.Sprintf("%s is too full (%s), so an idle model has to leave: %s", short(e.Gpu), e.Reason, victims(e.Victims))
	case *messages.PlacementHinted:
		if e.UntilMs == 0 {
			return "no room is kept for it any more"
		}
		return fmt.Sprintf("%s are kept for it on %s until %s, asked for by %s", mib(e.Bytes), short(e.Gpu), moment(time.UnixMilli(e.UntilMs)), cmp.Or(e.Owner, "somebody"))
	case *messages.DefragDecided:
		return "models move to make room in one piece: " + moves(e.Moves) + forWhom(e)
	case *messages.MoveLeft:
		return short(e.Holder) + " has left its device and comes back on the one that the plan wants"
	case *messages.DefragEnded:
		return "the moves that were left are given up: " + e.Reason
	case *messages.VictimPreempted:
		return short(e.Holder) + " has left, and its memory is free"
	case *messages.PlacementReserved:
		return "the device's owner reserved the memory" + epochs(e.Epochs)
	case *messages.PlacementRefused:
		return "the device's owner refused: " + saidError(e.Error) + "; it is decided again"
	case *messages.PlacementAbandoned:
		return "the placement was abandoned: " + e.Reason
	case *messages.PlacementClosed:
		return "closed: " + e.Reason
	case *messages.DisplacedReinstated:
		return "the job for which it left has given the memory back, and it is asked to come back"
	case *messages.InversionFound:
		return inversionText(e.GetInversion())
	case *messages.InversionEnded:
		return fmt.Sprintf("%s doesn't wait for the memory of %s any more: %s", short(e.Holder), short(e.Job), e.Reason)
	case *messages.ArbiterTookOver:
		return fmt.Sprintf("the arbiter of %s places from now on, under epoch %d, for %s", e.Host, e.Epoch, strings.Join(e.Members, ", "))
	}
	return ""
}

func inversionText(i *messages.Inversion) string {
	taken := ""
	if i.GetTaken() {
		taken = ", which is done"
	}
	return fmt.Sprintf("a priority inversion: %s, priority %d, waits for %s, priority %d: %s; what helps: %s%s", short(i.GetHolder()), i.GetPriority(), short(i.GetJob()), i.GetJobPriority(),
		strings.Join(i.GetChain(), " -> "), i.GetRemedy(), taken)
}
