package messages

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// declaredCodes reads the Code constants from the source: the table can't tell what it lacks.
func declaredCodes(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
				names = append(names, v.Names[0].Name)
			}
		}
		return true
	})
	return names
}

func TestEveryCodeIsDecided(t *testing.T) {
	declared := declaredCodes(t)
	if len(declared) < 23 {
		t.Fatalf("only %d codes found in errors.go: %v", len(declared), declared)
	}
	if len(declared) != len(errorTable) || len(declared) != len(Codes()) {
		t.Fatalf("%d codes are declared, %d have a row in errorTable, Codes lists %d: decide how the new one looks on every wire",
			len(declared), len(errorTable), len(Codes()))
	}
	names := map[string]Code{}
	for i, c := range Codes() {
		w, ok := errorTable[c]
		if !ok {
			t.Errorf("code %d (%s) has no row", c, declared[i])
			continue
		}
		if other, taken := names[w.Name]; taken {
			t.Errorf("codes %d and %d are both called %s", c, other, w.Name)
		}
		names[w.Name] = c
		if w.Name == "" || w.Name != strings.ToUpper(w.Name) || w.GRPC == 0 || codes.Code(w.GRPC) > codes.Unauthenticated ||
			w.HTTP < 400 || w.HTTP > 599 || w.OpenAI == "" || w.ZMQ == "" {
			t.Errorf("row of %d is not whole: %+v", c, w)
		}
	}
}

// The rows are a contract with all clients: lines of the golden file change only with a sentence on why.
func TestErrorTableGolden(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-3s %-22s %-20s %-4s %-26s %s\n", "no", "name", "grpc", "http", "openai", "zmq")
	for _, c := range Codes() {
		w := c.Wire()
		fmt.Fprintf(&b, "%-3d %-22s %-20s %-4d %-26s %s\n", c, w.Name, codes.Code(w.GRPC), w.HTTP, w.OpenAI, w.ZMQ)
	}
	const path = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != b.String() {
		t.Errorf("the error table differs from %s (%v); if it should: go test ./messages -update\n%s", path, err, b.String())
	}
}

func TestCodeSurvivesABody(t *testing.T) {
	codes := Codes()
	rapid.Check(t, func(t *rapid.T) {
		e := &Error{
			Code:    rapid.SampledFrom(codes).Draw(t, "code"),
			Subject: rapid.String().Draw(t, "subject"),
			Message: rapid.String().Draw(t, "message"),
			Hint:    rapid.String().Draw(t, "hint"),
			Retry:   time.Duration(rapid.IntRange(0, 1e6).Draw(t, "ms")) * time.Millisecond,
			Log:     rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "log"),
		}
		back := e.WithCause(io.EOF).Body().Err()
		if !reflect.DeepEqual(back, e) {
			t.Fatalf("%+v came back as %+v", e, back)
		}
	})
}

func TestStrangeCodesAreInternal(t *testing.T) {
	if c := (&ErrorBody{Code: "FROM_THE_FUTURE", Message: "x"}).Err().Code; c != Internal {
		t.Errorf("an unknown name became %s", c)
	}
	if s := Code(999).String(); s != "INTERNAL" {
		t.Errorf("a code without a row is shown as %s", s)
	}
	if (*Error)(nil).Body() != nil || (*ErrorBody)(nil).Err() != nil {
		t.Error("nil became an error on its way")
	}
}

func TestAsError(t *testing.T) {
	typed := NewError(GPUUnavailable, "gpu/a/b", "full")
	var none *Error
	for _, c := range []struct {
		name string
		in   error
		want Code
	}{
		{"nil", nil, 0},
		{"a typed nil", none, 0},
		{"typed", typed, GPUUnavailable},
		{"typed underneath", fmt.Errorf("load: %w", typed), GPUUnavailable},
		{"a typed cause of a typed error", Errorf(Unavailable, "x", "no answer: %w", typed), Unavailable},
		{"a deadline", fmt.Errorf("ask: %w", context.DeadlineExceeded), DeadlineExceeded},
		{"a caller that left", context.Canceled, Cancelled},
		{"anything else", io.EOF, Internal},
	} {
		if got := CodeOf(c.in); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	wrapped := Errorf(JournalUnavailable, "journal", "append: %w", io.ErrClosedPipe)
	if !errors.Is(wrapped, io.ErrClosedPipe) || !errors.Is(wrapped, &Error{Code: JournalUnavailable}) || errors.Is(wrapped, &Error{Code: Conflict}) {
		t.Errorf("%v hides what it is", wrapped)
	}
}

func TestErrorsReadAsSentences(t *testing.T) {
	e := NewError(ModelNotFound, "model/main_pc/tinny", "Model 'tinny' not found")
	if got, want := e.WithHint("modelops models lists them").Error(), "model/main_pc/tinny: Model 'tinny' not found (modelops models lists them)"; got != want {
		t.Errorf("got %q", got)
	}
	for message, want := range map[string]string{"host pc2 can't be reached": "host pc2 can't be reached", "it is no member": "host pc2: it is no member", "host pc23 is off": "host pc2: host pc23 is off"} {
		if got := NewError(Unavailable, "host pc2", message).Error(); got != want {
			t.Errorf("got %q", got)
		}
	}
	if e.Hint != "" {
		t.Error("WithHint changed the error that it was made from")
	}
}
