//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"modelops/messages"
)

// spoilLines spoils a file that people write: lines are doubled, dropped, moved to another depth, or get another value; or bytes are spoiled.
func (s spoiler) spoilLines(in string) string {
	if s.one(4) {
		return string(s.spoil([]byte(in)))
	}
	lines := strings.Split(in, "\n")
	for n := s.chance.IntN(6); n >= 0; n -= 3 {
		at := s.chance.IntN(len(lines))
		key, value, _ := strings.Cut(lines[at], ":")
		switch s.chance.IntN(10) {
		case 7, 8, 9: // what may be meant
			lines[at] = key + ": " + pick(s, []string{"0", "1", "2", "100", "1500", "true", "false", "light", "a", "big", "nothing", "10s", "1ms", "24h", "0.5", "embedded", "vllm", "[a]", "[]", "{}", "''", "none", "admin", "[{name: a}]"})
		case 0:
			lines = append(lines[:at:at], append([]string{lines[at]}, lines[at:]...)...)
		case 1:
			lines[at] = ""
		case 2:
			lines[at] = strings.Repeat(" ", s.chance.IntN(8)) + strings.TrimSpace(lines[at])
		case 3:
			lines[at] = key + ": " + pick(s, []string{"[", "{", "]", "- x", "!!int x", "&a", "*a", "<<: *b", "|", "? x", "0x", "1e400", "~", "\t", "@", "`", "'", `"`, "[[[[[[]]]]]]", "{a: {b: {c: d}}}", "2026-13-45", ".inf", "yes"})
		case 4:
			lines[at] = key + value + ":" + value
		default:
			lines[at] = key + ": " + pick(s, oddTexts)
		}
	}
	return strings.Join(lines, "\n")
}

var panicked = regexp.MustCompile(`(?m)^(panic:|fatal error:|goroutine \d+ \[|SIG[A-Z]+: )`)

// ran runs the binary to its end. Whatever it is given, it ends in time, by itself, with a code that is documented, and says why it failed.
func (c *chaos) ran(stdin []byte, env []string, args ...string) (code, fault string) {
	ctx, cancel := context.WithTimeout(c.t.Context(), hangLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.scratch, append(c.environ(), env...), time.Second
	cmd.Stdin = bytes.NewReader(stdin)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return "", "it can't be run: " + err.Error()
	}
	exit := cmd.ProcessState.ExitCode()
	code = fmt.Sprint("exit ", exit)
	said := fmt.Sprintf(" (it said %.300q and %.600q)", out.String(), bad.String())
	switch {
	case ctx.Err() != nil:
		return code, "it doesn't end within " + hangLimit.String() + said
	case panicked.Match(bad.Bytes()) || panicked.Match(out.Bytes()):
		return code, "it panicked" + said
	case exit < 0 || exit > 7:
		return code, "its exit code is documented nowhere" + said
	case exit > 1 && len(bytes.TrimSpace(bad.Bytes()))+len(bytes.TrimSpace(out.Bytes())) == 0:
		return code, "it failed without a word"
	case bytes.Contains(bad.Bytes(), []byte("INTERNAL")):
		return code, "an internal error" + said
	}
	return code, ""
}

// configurations are the files that are spoiled: those of the tests of configurations, and the tested daemon's.
func (c *chaos) configurations() (out []string) {
	c.t.Helper()
	files, _ := filepath.Glob(filepath.Join(root, "testdata/config/*/*.yaml"))
	for _, f := range append(files, filepath.Join(root, "cluster.yaml"), filepath.Join(c.dir, "cluster.yaml")) {
		raw, err := os.ReadFile(f)
		if err != nil {
			c.t.Fatal(err)
		}
		out = append(out, string(raw))
	}
	if len(out) < 10 {
		c.t.Fatalf("there are only %d configurations", len(out))
	}
	return out
}

// checks gives `config check` a spoiled file.
func checks(c *chaos, s spoiler) (input []byte, code, fault string) {
	text := s.spoilLines(pick(s, c.files))
	f, err := os.CreateTemp(c.scratch, "*.yaml")
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, "", err.Error()
	}
	defer os.Remove(f.Name())
	args := []string{"config", "check", "--config", f.Name()}
	if s.one(4) {
		args = append(args, "--json")
	}
	code, fault = c.ran(nil, nil, args...)
	return []byte(text), code, fault
}

// applies gives the running daemon a spoiled file, and then its own again.
func applies(c *chaos, s spoiler) (input []byte, code, fault string) {
	text := s.spoilLines(c.own)
	c.write("cluster.yaml", text)
	_, err := c.client.ApplyConfig(c.t.Context(), &messages.ApplyConfigRequest{})
	code = "applied"
	if err != nil {
		code, fault = judgeError(err)
	}
	c.write("cluster.yaml", c.own)
	if _, err := c.client.ApplyConfig(c.t.Context(), &messages.ApplyConfigRequest{}); err != nil {
		return []byte(text), code, "its own configuration isn't taken afterwards: " + err.Error()
	}
	c.until(waitLimit, "the good model answers again", func() bool { return c.serves() == "" })
	return []byte(text), code, fault
}

// tongues are commands of the command line. Those that run until they are ended, and those that end the daemon, aren't there.
var tongues = strings.Split(`infer|run|chat|defrag|defrag --apply|gpus|hint|load|logs|models|pin|ps|queue|rm|show|swap|unload|unpin|health|journal tail|journal verify|journal export|journal repair|replay|restore|restore --from|send|simulate|
state|status|why|certs show|certs issue|completion|config check|config apply|config schema|keys add|keys ls|keys revoke|version|help|nothing|__complete|queue cancel|swap promote|swap rollback|load --path|completion bash`, "|")

var flagged = strings.Split(`--json|--quiet|--no-color|--timeout=1ms|--timeout=-5s|--timeout=x|--server=nats://127.0.0.1:1|--server=x|--server=https://|--data-dir=/nonexistent|--config=/dev/null|--config=/|--ca=/dev/null|--cert=x|--tls|--help|--version|-h|--|-|
--nothing|--seed=x|--steps=5|--from=/dev/null|--last=-1|--for=-3s|--role=god|--expires=never|--max-tokens=-1|--temperature=nan|--param=x|--limit=99999999999999999999|-n=x|=`, "|")

// typed gives the command line odd arguments, input and environment.
func typed(c *chaos, s spoiler) (input []byte, code, fault string) {
	args := strings.Fields(pick(s, tongues))
	for s.one(2) {
		args = append(args, pick(s, oddTexts))
	}
	if s.one(3) {
		args = append(args, pick(s, flagged))
	}
	for i, a := range args {
		args[i] = strings.TrimSpace(strings.ReplaceAll(a, "\x00", "")) // no argument holds it
	}
	args = append([]string{"--config", filepath.Join(c.dir, "cluster.yaml"), "--timeout=20s"}, args...)
	var stdin []byte
	if s.one(2) {
		stdin = s.spoil([]byte(pick(s, jsonBodies) + "\n"))
	}
	var env []string
	if s.one(8) {
		env = []string{pick(s, []string{"MODELOPS_SERVER=x", "MODELOPS_API_KEY=x", "MODELOPS_API_KEY=\xff", "MODELOPS_CA=/", "MOC_SERVER__GRPC_PORT=x", "MOC___=", "HOME=", "NO_COLOR=1", "COLUMNS=-1", "LANG=x", "TZ=x"})}
	}
	code, fault = c.ran(stdin, env, args...)
	return fmt.Appendf(nil, "%q %q %.200q", env, args, stdin), code, fault
}
