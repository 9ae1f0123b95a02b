package model

import (
	"strings"
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// The owner of a pin is journaled, so its length is bounded.
func TestAPinsOwnerIsBounded(t *testing.T) {
	for length, want := range map[int]messages.Code{messages.LongestOwner: 0, messages.LongestOwner + 1: messages.InvalidArgument} {
		m := entitytest.Drive(Kind(Rules{}, World{}), messages.ModelActor("h", "m"))
		m.Happen(&messages.ModelDeclared{Spec: &messages.ModelSpec{Name: "m"}})
		if r, err := m.Do(&messages.PinModel{Owner: strings.Repeat("a", length)}); messages.CodeOf(err) != want || (err == nil) != (len(r.Events) == 1) {
			t.Errorf("%d bytes: %v, %v", length, r.Events, err)
		}
	}
}
