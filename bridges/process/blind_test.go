package process

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// askBlind tells what is known of a process without /proc.
func askBlind() int {
	var h Handle
	if err := json.Unmarshal([]byte(os.Getenv("HANDLE")), &h); err != nil {
		return 1
	}
	s := New(Options{Owner: "me"})
	proved, _ := s.Prove(h)
	_, found, _ := s.Find(context.Background(), h.Nonce)
	_, err := s.Owned()
	_, started, _ := s.Start(context.Background(), Spec{Argv: []string{"sleep", "600"}, Nonce: h.Nonce, LogPath: h.LogPath})
	soon, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond) // meant to pass: it waits on
	defer cancel()
	_, watching := s.Watch(soon, h)
	fmt.Println(proved, found, err != nil, started, watching != nil, codeOf(s.Stop(context.Background(), h, 0, nil)))
	return 0
}

// Without /proc nothing is known: no process is called gone, and none is started beside one that may live.
func TestWithoutProcNothingIsGone(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err != nil || exec.Command(unshare, "-m", "sh", "-c", "mount -t tmpfs none /proc").Run() != nil {
		t.Skip("needs the right to mount in a namespace of its own")
	}
	h := lostStarter(t, waits)
	handle, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(unshare, "-m", "sh", "-c", `mount -t tmpfs none /proc && exec "$0"`, os.Args[0])
	c.Env = append(os.Environ(), "ROLE=blind", "HANDLE="+string(handle))
	out, err := c.Output()
	if got := strings.TrimSpace(string(out)); err != nil || got != "unknown unknown true false true UNAVAILABLE" || !running(h.Pid) {
		t.Errorf("%q, %v", got, err)
	}
}
