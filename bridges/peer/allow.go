package peer

import (
	"modelops/messages"
)

// allowed are the commands that hosts send each other's actors: those of the arbiter, the devices and the models about memory, and those by which a host that
// is being emptied moves its models. What a person may do at another host goes by an operation, which checks the person.
var allowed = map[string]bool{
	"arbiter/RequestPlacement": true, "arbiter/AbandonPlacement": true, "arbiter/ClosePlacement": true, "arbiter/HintPlacement": true,
	"arbiter/PlanDefrag": true, "arbiter/RelievePressure": true, "arbiter/EndDefrag": true, "arbiter/QueryHolding": true,
	"gpu/ReserveVram": true, "gpu/SettleVram": true, "gpu/ResizeVram": true, "gpu/ReleaseVram": true, "gpu/RenewLease": true, "gpu/CheckLease": true,
	"gpu/ReportLeaseDiffers": true,
	"model/PlacementGranted": true, "model/Preempt": true, "model/Reinstate": true, "model/QueryHolding": true, "model/ReportPlacementFailed": true,
	"job/PlacementGranted": true, "job/Preempt": true, "job/Reinstate": true, "job/QueryHolding": true,
	"model/EnsureModel": true, "model/UnloadModel": true, "model/PinModel": true,
	"job/StopJob": true, // of a priority inversion
}

// commandOf finds what a peer asks for, when it may.
func (p *Peers) commandOf(a *messages.PeerAsk) (messages.ActorID, messages.CommandInfo, error) {
	to, err := messages.ParseActorID(a.Actor)
	if err != nil {
		return to, messages.CommandInfo{}, err
	}
	if to != messages.ArbiterActor() && to.Host() != p.o.Host {
		return to, messages.CommandInfo{}, messages.Errorf(messages.PermissionDenied, a.Actor, "it is no actor of %s", p.o.Host)
	}
	info, err := messages.CommandNamed(to.Kind, a.Command)
	if err != nil {
		return to, info, err
	}
	if !allowed[to.Kind+"/"+a.Command] && a.Command != "QueryView" {
		return to, info, messages.Errorf(messages.PermissionDenied, a.Actor, "another host may not send %s", a.Command)
	}
	return to, info, nil
}
