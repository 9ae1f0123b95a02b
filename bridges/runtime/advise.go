package runtime

import (
	"context"

	"modelops/messages"
)

// Advise looks at a declaration without starting anything. The error is a contradiction that would be refused at each placement; warnings say
// what isn't known of the model's memory.
func (r *Runtime) Advise(ctx context.Context, spec *messages.ModelSpec) (warnings []string, _ error) {
	if _, err := r.wishOf(spec); err != nil {
		return nil, err
	}
	k, err := r.kindOf(spec)
	if err != nil || k.remote || k.needsFile || spec.VramBytes > 0 {
		return nil, nil // what is wrong with a file is said when it is loaded: it may be mounted later
	}
	if e, err := r.Estimate(ctx, spec); err == nil && e.From == Unknown {
		warnings = append(warnings, "its memory is unknown: cmd or args name no model file that is here")
	}
	return warnings, nil
}
