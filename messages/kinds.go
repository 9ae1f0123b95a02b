package messages

import (
	"slices"

	"google.golang.org/protobuf/proto"
)

// KindInfo is what is known of a kind of actors.
type KindInfo struct {
	Name     string
	Identity Identity
	Example  string // how people write such an actor: model/main_pc/tiny
	Holds    bool   // its actors hold device memory
}

// Kinds lists the kinds of actors, sorted by name.
func Kinds() []KindInfo { return slices.Clone(kindTable) }

func kindNamed(name string) (KindInfo, bool) {
	i := slices.IndexFunc(kindTable, func(k KindInfo) bool { return k.Name == name })
	if i < 0 {
		return KindInfo{}, false
	}
	return kindTable[i], true
}

// Holds tells whether actors of a kind hold device memory.
func Holds(kind string) bool {
	info, _ := kindNamed(kind)
	return info.Holds
}

// CommandInfo is a command that actors of a kind take. An empty kind stands for all.
type CommandInfo struct {
	Kind       string
	Name       string // such as EnsureModel
	Visibility Visibility
	First      bool   // it makes the actor when there is none
	Program    string // the field that may name only a program when somebody sends it; empty = there is none
	New        func() proto.Message
}

// Commands lists the commands that actors of a kind take: its own, then those that every actor takes.
func Commands(kind string) []CommandInfo {
	var own, all []CommandInfo
	for _, c := range commandTable {
		switch c.Kind {
		case kind:
			own = append(own, c)
		case "":
			all = append(all, c)
		}
	}
	return append(own, all...)
}

// CommandNamed finds a command of a kind by its name. The error is InvalidArgument when the kind takes no such command.
func CommandNamed(kind, name string) (CommandInfo, error) {
	for _, c := range Commands(kind) {
		if c.Name == name {
			return c, nil
		}
	}
	return CommandInfo{}, Errorf(InvalidArgument, name, "actors of kind %s take no such command", kind).
		WithHint("modelops send --help lists the commands of each kind")
}
