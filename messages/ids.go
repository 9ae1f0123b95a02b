package messages

import (
	"fmt"
	"strconv"
	"strings"
)

// ActorID names an actor: its kind, and its identity within the kind ("main_pc/tiny").
type ActorID struct {
	Kind string
	ID   string
}

// String is the form people type and the journal's Actor header holds: model/main_pc/tiny.
func (a ActorID) String() string {
	if a.ID == "" {
		return a.Kind
	}
	return a.Kind + "/" + a.ID
}

// Host is the host part of the identity; for host actors the identity itself.
func (a ActorID) Host() string {
	host, _, _ := strings.Cut(a.ID, "/")
	return host
}

// Name is what follows the host: the device's or the model's name. Model names may hold slashes.
func (a ActorID) Name() string {
	_, name, _ := strings.Cut(a.ID, "/")
	return name
}

// ParseActorID reads KIND/ID. Only the shape is checked, not whether such an actor exists.
func ParseActorID(s string) (ActorID, error) {
	kind, id, _ := strings.Cut(strings.Trim(s, "/"), "/")
	info, ok := kindNamed(kind)
	if !ok {
		return ActorID{}, NewError(InvalidArgument, s, fmt.Sprintf("%q is no kind of actor", kind)).WithHint("the kinds are " + kindNames())
	}
	host, name, _ := strings.Cut(id, "/")
	switch {
	case info.Identity != Identity_SINGLE && id == "":
		return ActorID{}, NewError(InvalidArgument, s, "the actor has no identity").WithHint("write " + kind + "/ID, such as " + info.Example)
	case info.Identity == Identity_HOST_AND_NAME && (host == "" || name == ""):
		return ActorID{}, NewError(InvalidArgument, s, "the host is missing").WithHint("write " + kind + "/HOST/NAME, such as " + info.Example)
	}
	return ActorID{kind, id}, nil
}

// ActorNamed reads an actor's name as people write it: KIND/HOST/NAME, or KIND/NAME and host for one of host here. A model's name may hold
// slashes, so what follows the kind is a host only when known says so, or when it is AnyHost.
func ActorNamed(s, here string, known func(host string) bool) (ActorID, error) {
	kind, rest, _ := strings.Cut(strings.Trim(s, "/"), "/")
	info, ok := kindNamed(kind)
	switch first, name, _ := strings.Cut(rest, "/"); {
	case !ok:
	case kind == KindHost && rest == "":
		return HostActor(here), nil
	case info.Identity == Identity_HOST_AND_NAME && first != "" && first != here && first != AnyHost && (name == "" || !known(first)):
		return ActorID{kind, here + "/" + rest}, nil
	}
	return ParseActorID(s)
}

func kindNames() string {
	names := make([]string, len(kindTable))
	for i, k := range kindTable {
		names[i] = k.Name
	}
	return strings.Join(names, ", ")
}

// AnyHost stands for the host in the name of a holder whose host is still to be chosen: model/*/tiny.
const AnyHost = "*"

// HostActor is a machine's life.
func HostActor(host string) ActorID { return ActorID{KindHost, host} }

// GPUActor is the ledger of one of a host's devices.
func GPUActor(host, device string) ActorID { return ActorID{KindGPU, host + "/" + device} }

// ModelActor is a model's residency on a host.
func ModelActor(host, model string) ActorID { return ActorID{KindModel, host + "/" + model} }

// ReplicaName names a model's n-th worker (n >= 2): chat~2.
func ReplicaName(model string, n int) string { return model + "~" + strconv.Itoa(n) }

// ReplicaOf takes a replica's name apart: chat~2 is a replica of chat. ok is false for a model's own name.
func ReplicaOf(name string) (model string, ok bool) {
	i := strings.LastIndexByte(name, '~')
	if i <= 0 {
		return "", false
	}
	if n, err := strconv.Atoi(name[i+1:]); err != nil || n < 2 || strconv.Itoa(n) != name[i+1:] {
		return "", false
	}
	return name[:i], true
}

// BaseOf is the model that a worker belongs to: chat for chat~2, and for chat. It reads names and actors' ids alike.
func BaseOf(name string) string {
	if model, ok := ReplicaOf(name); ok {
		return model
	}
	return name
}

// ArbiterActor is the scheduler of this connected part of the cluster; it journals under the host it runs on.
func ArbiterActor() ActorID { return ActorID{Kind: KindArbiter} }

// Units of memory, in bytes.
const (
	MiB = uint64(1) << 20
	GiB = uint64(1) << 30
)

// FormatBytes writes an amount as people read memory: MiB below 10 GiB, else GiB.
func FormatBytes(b uint64) string {
	switch {
	case b < MiB:
		return fmt.Sprintf("%d KiB", (b+1023)/1024)
	case b < 10*GiB:
		return fmt.Sprintf("%d MiB", (b+MiB-1)/MiB)
	}
	return fmt.Sprintf("%.1f GiB", float64(b)/float64(GiB))
}
