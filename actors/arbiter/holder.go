package arbiter

import (
	"strings"

	"modelops/messages"
)

// A holder is an actor that holds device memory (model/main_pc/tiny, job/main_pc/tune), such an actor on a host that is still to be chosen (model/*/tiny), or a
// program (client/NAME).

// program is the kind of holders that are no actors: their placement is taken over by the operation that asked for it.
const program = "client"

// IsProgram tells whether a holder is a program.
func IsProgram(holder string) bool { return strings.HasPrefix(holder, program+"/") }

// parts splits a holder's name: model, main_pc, tiny. A program has no host.
func parts(holder string) (kind, host, name string) {
	kind, rest, _ := strings.Cut(holder, "/")
	if kind == program {
		return kind, "", rest
	}
	host, name, _ = strings.Cut(rest, "/")
	return kind, host, name
}

// anyHost tells whether a holder's host is still to be chosen.
func anyHost(holder string) bool {
	_, host, _ := parts(holder)
	return host == messages.AnyHost
}

// on is a holder on a host.
func on(holder, host string) string {
	kind, h, name := parts(holder)
	if h != messages.AnyHost {
		return holder
	}
	return kind + "/" + host + "/" + name
}

// same tells whether two holders are one, or are once their hosts are chosen.
func same(a, b string) bool {
	if a == b {
		return true
	}
	ka, ha, na := parts(a)
	kb, hb, nb := parts(b)
	return ka == kb && na == nb && (ha == messages.AnyHost || hb == messages.AnyHost)
}

// family finds the workers of one model among holders, whatever their hosts. Most holders belong to other models: they are compared without
// splitting their names, because a decision looks at all of them.
type family struct{ kind, base, mark string }

func familyOf(holder string) family {
	kind, _, name := parts(holder)
	base := messages.BaseOf(name)
	if base == "" {
		return family{}
	}
	start := len(holder) - len(name)
	return family{kind, base, holder[start-1 : start+len(base)]} // with the slash before it
}

func (f family) has(holder string) bool {
	if f.base == "" || !strings.HasSuffix(holder, f.mark) && strings.IndexByte(holder, '~') < 0 {
		return false
	}
	kind, _, name := parts(holder)
	return kind == f.kind && messages.BaseOf(name) == f.base
}

// validHolder tells whether a placement could be handed to a holder.
func validHolder(holder string) bool {
	kind, host, name := parts(holder)
	if kind == program {
		return name != ""
	}
	return messages.Holds(kind) && host != "" && name != ""
}
