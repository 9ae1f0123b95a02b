package cli

import (
	"strings"
	"testing"

	"modelops/bridges/config"
)

// What is wrong with a token's time or an invitation is said by the flag's name, before anybody is asked. 0 would mean the usual time.
func TestWrongFlagsOfInvitations(t *testing.T) {
	for line, want := range map[string]string{"cluster invite --ttl 0s": "--ttl: a token can't last 0s", "cluster invite --ttl=-1m": "--ttl: a token can't last -1m", "cluster invite --ttl 200h": "--ttl: a token can't last 200h"} {
		c, _, errs := openDoor(t, chunks())
		if code := c.run(strings.Fields(line)...); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: %d %s", line, code, errs)
		}
	}
	c, _, _ := openDoor(t, chunks())
	if err := c.joinFirst(t.Context(), &config.Config{}, serving{join: "pc:7422"}); err == nil || !strings.HasPrefix(err.Error(), "--join: the token of an invitation is missing") {
		t.Error(err)
	}
}
