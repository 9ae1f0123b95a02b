package cli

import (
	"bytes"
	"testing"

	"modelops/messages"
)

func TestPrintExplanation(t *testing.T) {
	var out bytes.Buffer
	c := &cli{stdout: &out}
	err := c.printExplanation(&messages.Explanation{Summary: "tiny is ready on sim0.",
		Reasons:     []*messages.Reason{{Sequence: 7, At: "not a time", Actor: "model/main_pc/tiny", Event: "model.ready", Text: "ready after 1s"}, {At: "now", Actor: "gateway", Event: "request.came", Text: "asked"}},
		Weighed:     []*messages.Weighed{{Gpu: "gpu/main_pc/sim0", Chosen: true, Text: "chosen: 1 MiB free"}, {Gpu: "gpu/main_pc/sim1", Text: "rejected: full"}},
		WouldChange: []string{"pin it"}})
	want := `tiny is ready on sim0.

AT          #  ENTITY   EVENT         WHY
not a time  7  tiny     model.ready   ready after 1s
now         -  gateway  request.came  asked

DEVICE  CHOSEN  WHY
sim0    yes     chosen: 1 MiB free
sim1    no      rejected: full

to change this:
  - pin it
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Devices of several hosts may have one name: a column says whose each is.
func TestWhyTellsTheHostsOfDevices(t *testing.T) {
	says(t, `
tiny is ready.

HOST     DEVICE  CHOSEN  WHY
main_pc  gpu0    yes     chosen
pc2      gpu0    no      as good
`, func(c *cli) error {
		return c.printExplanation(&messages.Explanation{Summary: "tiny is ready.", Weighed: []*messages.Weighed{{Gpu: "gpu/main_pc/gpu0", Chosen: true, Text: "chosen"}, {Gpu: "gpu/pc2/gpu0", Text: "as good"}}})
	})
}
