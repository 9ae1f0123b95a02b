package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// at reads the value at a path of sections.
func at(c *Config, path string) reflect.Value {
	v := reflect.ValueOf(*c)
	for key := range strings.SplitSeq(path, ".") {
		f, _ := fieldNamed(v.Type(), key)
		v = v.FieldByIndex(f.Index)
	}
	return v
}

func tagAt(path string) (reflect.Type, rule) {
	t := reflect.TypeFor[Config]()
	var r rule
	for key := range strings.SplitSeq(path, ".") {
		f, _ := fieldNamed(t, key)
		t, r = f.Type, ruleOf(f.Tag)
	}
	return t, r
}

// TestVariableIsSeen: a valid value in MOC_SECTION__KEY is the effective value, whatever the file says.
func TestVariableIsSeen(t *testing.T) {
	t.Chdir("../..")
	var keys []string
	for _, p := range paths(reflect.TypeFor[Config](), "") {
		if typ, _ := tagAt(p); typ.Kind() == reflect.Int || typ == durationType || typ.Kind() == reflect.Bool {
			keys = append(keys, p)
		}
	}
	if len(keys) < 25 {
		t.Fatalf("only %d keys found: %v", len(keys), keys)
	}
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SampledFrom(keys).Draw(t, "key")
		file := rapid.SampledFrom([]string{"", "cluster.yaml"}).Draw(t, "file")
		typ, r := tagAt(path)
		var text, want string
		switch {
		case typ == durationType:
			d := time.Duration(rapid.Int64Range(int64(r.least), int64(r.most)).Draw(t, "duration"))
			text, want = d.String(), d.String()
		case typ.Kind() == reflect.Bool:
			text = strconv.FormatBool(rapid.Bool().Draw(t, "bool"))
			want = text
		default:
			text = strconv.FormatInt(rapid.Int64Range(*r.min, *r.max).Draw(t, "int"), 10)
			want = text
		}
		c, err := Load(file, []string{variable(path) + "=" + text}, "")
		if err != nil {
			if strings.Contains(err.Error(), "out of range") || !strings.Contains(err.Error(), path) && !strings.Contains(err.Error(), "margin") {
				t.Fatal(err)
			}
			return // it contradicts another key, and says so
		}
		if got := fmt.Sprint(at(c, path)); got != want {
			t.Fatalf("%s=%s: %s is %s", variable(path), text, path, got)
		}
		for _, s := range c.Explain() {
			if s.Path == path && s.Source != variable(path) {
				t.Fatalf("%s comes from %s", path, s.Source)
			}
		}
	})
}

// TestVariableOutOfRange: one step over a limit is an error that names the variable and the limit.
func TestVariableOutOfRange(t *testing.T) {
	t.Chdir("../..")
	for _, path := range paths(reflect.TypeFor[Config](), "") {
		typ, r := tagAt(path)
		if typ.Kind() != reflect.Int {
			continue
		}
		for _, n := range []int64{*r.min - 1, *r.max + 1} {
			_, err := Load("", []string{fmt.Sprintf("%s=%d", variable(path), n)}, "")
			want := fmt.Sprintf("%s: %s: %d is out of range, expected a whole number from %d to %d", variable(path), path, n, *r.min, *r.max)
			if err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
	}
}

// TestFlatVariables: each name of the old coordinator sets its key.
func TestFlatVariables(t *testing.T) {
	value := map[string]string{"host": "pc7", "log.level": "debug", "data_dir": "/d", "title": "T", "version": "9",
		"models.default_dtype": "int8", "models.quantization": "false", "learning.enable_auto_tune": "false",
		"learning.job_store": "/jobs.db", "goals.policy": "round_robin"}
	for _, f := range flat {
		text := value[f.key]
		if text == "" {
			text = "37"
		}
		if f.key == "resources.vram_soft_limit_mb" {
			text = "7777"
		}
		c, err := Load("", []string{f.name + "=" + text}, "")
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if typ, _ := tagAt(f.key); typ == durationType {
			text += "s"
		}
		if got := fmt.Sprint(at(c, f.key)); got != text {
			t.Errorf("%s=%s: %s is %s", f.name, text, f.key, got)
		}
	}
}

// TestPrecedence adds one layer after the other; the last always wins.
func TestPrecedence(t *testing.T) {
	file, hosts := "server: {grpc_port: 101}\n", "hosts: {main_pc: {server: {grpc_port: 102}}}\n"
	layers := []struct {
		text string
		env  []string
		want int
	}{
		{"{}", nil, 7212},
		{file, nil, 101},
		{file + hosts, nil, 102},
		{file + hosts, []string{"MOC_PORT=103"}, 103},
		{file + hosts, []string{"MOC_PORT=103", "MOC_GRPC_PORT=104"}, 104},
		{file + hosts, []string{"MOC_SERVER__GRPC_PORT=105", "MOC_PORT=103", "MOC_GRPC_PORT=104"}, 105},
		{file + hosts, []string{`MOC_SERVER={grpc_port: 106, rest_port: 1}`, "MOC_SERVER__GRPC_PORT=107"}, 107},
	}
	for _, l := range layers {
		if c := load(t, l.text, "", l.env...); c.Server.GRPCPort != l.want {
			t.Errorf("%v: %d, want %d", l, c.Server.GRPCPort, l.want)
		}
	}
}

func TestHostName(t *testing.T) {
	for _, c := range []struct {
		text, flag string
		env        []string
		want       string
	}{
		{"{}", "", nil, "main_pc"},
		{"host: a", "", nil, "a"},
		{"host: ${H:x}", "", nil, "x"},
		{"host: a", "", []string{"MOC_HOST=b"}, "b"},
		{"host: a", "c", []string{"MOC_HOST=b"}, "c"},
	} {
		text := c.text + fmt.Sprintf("\nhosts: {%s: {title: mine}}", c.want)
		if c.text == "{}" {
			text = "hosts: {main_pc: {title: mine}}"
		}
		got := load(t, text, c.flag, c.env...)
		if got.Host != c.want || got.Title != "mine" {
			t.Errorf("%+v: host %s, title %s", c, got.Host, got.Title)
		}
	}
}
