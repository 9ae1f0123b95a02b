package messages

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Enums that states hold are written by name in snapshots and in what people see of a state.

// MarshalText writes the phase by its name.
func (p ModelView_Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase by its name.
func (p *ModelView_Phase) UnmarshalText(b []byte) error { return named(p, p.Descriptor(), b) }

// MarshalText writes the breaker's state by its name.
func (p ModelView_Breaker) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a breaker's state by its name.
func (p *ModelView_Breaker) UnmarshalText(b []byte) error { return named(p, p.Descriptor(), b) }

// MarshalText writes the rollout's phase by its name.
func (p SwapReply_Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a rollout's phase by its name.
func (p *SwapReply_Phase) UnmarshalText(b []byte) error { return named(p, p.Descriptor(), b) }

// MarshalText writes the phase by its name.
func (p JobView_Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase by its name.
func (p *JobView_Phase) UnmarshalText(b []byte) error { return named(p, p.Descriptor(), b) }

// MarshalText writes the cause by its name.
func (c StopCause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a cause by its name.
func (c *StopCause) UnmarshalText(b []byte) error { return named(c, c.Descriptor(), b) }

// MarshalText writes the phase by its name.
func (p GoalView_Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase by its name.
func (p *GoalView_Phase) UnmarshalText(b []byte) error { return named(p, p.Descriptor(), b) }

// MarshalText writes the stage by its name.
func (s GoalRun_Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a stage by its name.
func (s *GoalRun_Stage) UnmarshalText(b []byte) error { return named(s, s.Descriptor(), b) }

// MarshalText writes the result by its name.
func (r GoalRun_Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a result by its name.
func (r *GoalRun_Result) UnmarshalText(b []byte) error { return named(r, r.Descriptor(), b) }

func named[E ~int32](to *E, d protoreflect.EnumDescriptor, b []byte) error {
	v := d.Values().ByName(protoreflect.Name(b))
	if v == nil {
		return fmt.Errorf("%q is no %s", b, d.Name())
	}
	*to = E(v.Number())
	return nil
}
