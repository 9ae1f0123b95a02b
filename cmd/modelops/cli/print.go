package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// shown makes JSON with the field names of the proto files and with zeros, as on NATS.
var shown = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// showing is a message as people and scripts see it: with plain numbers.
func showing(m proto.Message) ([]byte, error) {
	b, err := shown.Marshal(m)
	if err != nil {
		return nil, err
	}
	return numbers(b, m.ProtoReflect().Descriptor())
}

// printProto writes a message as one indented document.
func printProto(w io.Writer, m proto.Message) error {
	b, err := showing(m)
	if err != nil {
		return err
	}
	return printRaw(w, b)
}

// printRaw writes JSON indented. The spaces that protojson writes differ from build to build on purpose, so its layout is never kept.
func printRaw(w io.Writer, b []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return err
}

func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return printRaw(w, b)
}

// printJSONLine writes one item of a stream.
func printJSONLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// compact is a message on one line.
func compact(m proto.Message) json.RawMessage {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err == nil {
		b, err = numbers(b, m.ProtoReflect().Descriptor())
	}
	if err != nil {
		return json.RawMessage(fmt.Sprintf("%q", err))
	}
	return b
}

// list is messages as a JSON array; each looks as printProto writes it.
type list[M proto.Message] []M

func (l list[M]) MarshalJSON() ([]byte, error) {
	out := make([]json.RawMessage, 0, len(l))
	for _, m := range l {
		b, err := showing(m)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return json.Marshal(out)
}

// table writes rows in columns. Every cell of a coloured column has colour codes of the same length; otherwise the columns don't align.
type table struct {
	columns []string
	rows    [][]string
	colour  func(column int, cell string) string // one of the codes below; may be nil
}

const (
	plain  = "\x1b[39m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	reset  = "\x1b[0m"
)

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for i, row := range append([][]string{t.columns}, t.rows...) {
		cells := make([]string, len(row))
		for j, cell := range row {
			cells[j] = t.painted(i, j, cell)
		}
		if _, err := fmt.Fprintln(tw, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func (t *table) painted(row, column int, cell string) string {
	if cell == "" {
		cell = "-"
	}
	if t.colour == nil || t.colour(column, cell) == "" {
		return cell
	}
	code := t.colour(column, cell)
	if row == 0 {
		code = plain
	}
	return code + cell + reset
}

// paint colours the phase column of a table on a terminal.
func (c *cli) paint(t *table, column int) {
	if !c.coloured() {
		return
	}
	t.colour = func(i int, cell string) string {
		if i != column {
			return ""
		}
		return phaseColour(cell)
	}
}

func phaseColour(phase string) string {
	switch phase {
	case "ready", "ok", "completed":
		return green
	case "placing", "loading", "falling_asleep", "waking", "draining", "stopping", "waiting", "half_open", "reserved", "checkpointing", "preempted", "paused":
		return yellow
	case "failed", "lost", "open":
		return red
	}
	return plain
}

// mib writes an amount of memory; 0 is empty.
func mib(b uint64) string {
	if b == 0 {
		return ""
	}
	return messages.FormatBytes(b)
}

// amount writes an amount of memory; 0 is 0.
func amount(b uint64) string { return cmp.Or(mib(b), "0") }

// ago writes the time since a moment; empty when there is none.
func ago(now time.Time, ms int64) string {
	if ms == 0 {
		return ""
	}
	return lasting(now.Sub(time.UnixMilli(ms)))
}

// lasting writes a duration with its two largest units.
func lasting(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
