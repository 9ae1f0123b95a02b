package main

import (
	"context"

	"modelops/actors/control"
	"modelops/actors/goal"
	"modelops/messages"
)

// goalWork is what goals and lineages of this host do, by the code of the operations.
func (d *daemon) goalWork() control.GoalWork {
	return control.GoalWork{Control: d.control, Recovered: d.recovery.Await}
}

// goals is what this host's goals touch.
func (d *daemon) goals() goal.World {
	w := d.goalWork()
	return goal.World{Jobs: w, Recipes: w, Versions: w, Now: d.clock.Now}
}

// dispatchGoals gives the goals of this host their turns, by the configuration in force, until the daemon's life ends. No view is missing from its first look:
// it begins when every actor of the journal is back.
func (d *daemon) dispatchGoals(life context.Context) {
	turns := func() goal.Turns {
		g := d.config().Goals
		return goal.Turns{Policy: g.Policy, MaxActive: uint32(g.MaxActiveGoals)}
	}
	dispatcher := goal.Dispatcher{Turns: turns, Goals: func() []*messages.GoalView { return d.view.GoalsOf(d.host) }, Changed: d.view.Changed, Door: d.tree, Now: d.clock.Now}
	dispatcher.Run(life)
}
