package cli

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// screen is a terminal of a test's own: what is typed and what is shown.
type screen struct {
	t     *testing.T
	typed *os.File
	shows chan string
	seen  string
}

// openScreen gives the program's side of a terminal with 80 columns.
func openScreen(t *testing.T) (*screen, *os.File) {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(main.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: 80, Row: 24})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, typed: main, shows: make(chan string)}
	done := make(chan struct{})
	go func() {
		defer close(s.shows)
		b := make([]byte, 4096)
		for {
			n, err := main.Read(b)
			if err != nil {
				return
			}
			select {
			case s.shows <- string(b[:n]):
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() { close(done); _ = tty.Close(); _ = main.Close() })
	return s, tty
}

// until reads what is shown until it has a text; it gives all up to there.
func (s *screen) until(text string) string {
	s.t.Helper()
	hang := time.NewTimer(hangLimit)
	defer hang.Stop()
	for !strings.Contains(s.seen, text) {
		select {
		case more, ok := <-s.shows:
			if s.seen += more; !ok {
				s.t.Fatalf("the terminal ends before %q: %q", text, s.seen)
			}
		case <-hang.C:
			s.t.Fatalf("the terminal never shows %q: %q", text, s.seen)
		}
	}
	before, after, _ := strings.Cut(s.seen, text)
	s.seen = after
	return before + text
}

func (s *screen) types(text string) {
	s.t.Helper()
	if _, err := s.typed.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// A person chats on a terminal: there is a prompt, an answer with its figures, /clear forgets, Ctrl-C stops an answer and not the chat, and an
// answer that pauses shows a sign that is gone before the answer goes on.
func TestAChatOnATerminal(t *testing.T) {
	goesOn := make(chan struct{})
	var turns []int
	p := &fakeDaemon{infer: func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		turns = append(turns, len(r.Messages))
		said := r.Messages[len(r.Messages)-1].Content
		if err := emit(&messages.InferenceChunk{Text: "I heard"}); err != nil {
			return nil, err
		}
		switch said {
		case "pause":
			<-goesOn
		case "hang":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if err := emit(&messages.InferenceChunk{Text: " " + said}); err != nil {
			return nil, err
		}
		return &messages.InferenceResponse{ResponseText: "I heard " + said, TokensGenerated: 3, InferenceTimeMs: 500}, nil
	}}
	c, _, _ := openDoor(t, p)
	s, tty := openScreen(t)
	c.stdin, c.stdout, c.stderr = tty, tty, tty
	code := make(chan int)
	go func() { code <- c.run("chat", "m") }()
	s.until("> ")
	s.types("one\n")
	s.until("I heard one\r\n(3 tokens in 500ms, 6/s)\r\n> ")
	s.types("pause\n")
	if got := s.until("\x1b7\x1b[K [goes on, nothing for"); !strings.Contains(got, "I heard") {
		t.Errorf("before the sign: %q", got)
	}
	close(goesOn)
	s.until("\x1b8\x1b[K pause\r\n(3 tokens")
	s.until("> ")
	s.types("hang\n")
	s.until("I heard")
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	s.until("\r\n> ")
	s.types("/clear\n")
	s.until("> ")
	s.types("two\n")
	s.until("I heard two\r\n(3 tokens")
	s.until("> ")
	s.types("\x04") // Ctrl-D
	if got := <-code; got != exitOK {
		t.Errorf("exit %d", got)
	}
	if want := []int{1, 3, 5, 1}; len(turns) != 4 || turns[0] != want[0] || turns[1] != want[1] || turns[2] != want[2] || turns[3] != want[3] {
		t.Errorf("the messages of each request: %v, want %v", turns, want)
	}
}

// Where the answer goes to a file and the errors to a terminal, the sign is a line of the terminal, and the file has the answer alone.
func TestASignBesideAnAnswerInAFile(t *testing.T) {
	goesOn := make(chan struct{})
	c, out, _ := openDoor(t, &fakeDaemon{infer: func(_ context.Context, _ *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		if err := emit(&messages.InferenceChunk{Text: "Ich höre"}); err != nil {
			return nil, err
		}
		<-goesOn
		return &messages.InferenceResponse{ResponseText: "Ich höre"}, nil
	}})
	s, tty := openScreen(t)
	c.stderr = tty
	code := make(chan int)
	go func() { code <- c.run("infer", "m", "x", "--stream") }()
	s.until("\r\x1b[K[goes on, nothing for")
	close(goesOn)
	if got := <-code; got != exitOK || out.String() != "Ich höre\n" {
		t.Errorf("exit %d, %q", got, out)
	}
}
