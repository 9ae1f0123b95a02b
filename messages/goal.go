package messages

import (
	"fmt"
	"strconv"
	"strings"
)

// GoalActor is one aim.
func GoalActor(host, id string) ActorID { return ActorID{KindGoal, host + "/" + id} }

// LineageActor is the versions of a model on a host.
func LineageActor(host, model string) ActorID { return ActorID{KindLineage, host + "/" + model} }

// GoalPriorities are the priorities of goals, the first to go first. One that says none has DefaultGoalPriority.
var GoalPriorities = []string{"critical", "high", DefaultGoalPriority, "low"}

// DefaultGoalPriority is the priority of a goal that says none.
const DefaultGoalPriority = "medium"

// Status is a phase in the words of the old contract: pending, running, completed, failed or cancelled.
func (p GoalView_Phase) Status() string {
	switch p {
	case GoalView_phase_unknown, GoalView_paused:
		return GoalView_pending.String()
	case GoalView_active:
		return "running"
	}
	return p.String()
}

// VersionName is what a version of a model is called where it serves: MODEL@N.
func VersionName(model string, number uint32) string { return fmt.Sprintf("%s@%d", model, number) }

// VersionOf reads MODEL@N.
func VersionOf(name string) (model string, number uint32, is bool) {
	i := strings.LastIndexByte(name, '@')
	if i < 1 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(name[i+1:], 10, 32)
	if err != nil || n == 0 || VersionName(name[:i], uint32(n)) != name {
		return "", 0, false
	}
	return name[:i], uint32(n), true
}
