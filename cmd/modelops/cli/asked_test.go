package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// TestWhatTheDaemonIsAsked: the request that a command line becomes. What a flag doesn't say has its default; MiB become bytes, and times seconds.
func TestWhatTheDaemonIsAsked(t *testing.T) {
	c, _, errs := replying(t, nil)
	nc, err := nats.Connect(c.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	here, err := filepath.Abs("mine.gguf")
	if err != nil {
		t.Fatal(err)
	}
	for line, tc := range map[string]struct {
		subject string
		want    proto.Message
	}{
		"hint big --for 90s --mb 5":             {"hints.set", &messages.HintModelRequest{ModelName: "big", WithinSeconds: 90, Bytes: 5 << 20, Owner: userName()}},
		"hint big --for 0":                      {"hints.set", &messages.HintModelRequest{ModelName: "big", Owner: userName()}},
		"pin tiny --for 1h30m --owner alice":    {"models.pin", &messages.PinModelRequest{ModelName: "tiny", Owner: "alice", TtlSeconds: 5400}},
		"pin tiny":                              {"models.pin", &messages.PinModelRequest{ModelName: "tiny", Owner: userName()}},
		"unpin tiny":                            {"models.unpin", &messages.UnpinModelRequest{ModelName: "tiny"}},
		"load mine --path mine.gguf --shards 2": {"models.load", &messages.ModelLoadRequest{ModelName: "mine", ModelPath: here, Shards: 2}},
		"run tiny":                              {"models.load", &messages.ModelLoadRequest{ModelName: "tiny"}},
		"unload tiny":                           {"models.unload", &messages.ModelUnloadRequest{ModelName: "tiny"}},
		"stop tiny --force":                     {"models.unload", &messages.ModelUnloadRequest{ModelName: "tiny", Force: true}},
		"defrag --for big":                      {"defrag", &messages.DefragRequest{ModelName: "big"}},
		"defrag --mb 3 --apply":                 {"defrag", &messages.DefragRequest{NeedBytes: 3 << 20, Apply: true}},
		"swap chat=big --canary 10 --requests 50 --max-errors 3 --judge 500ms --ready 2m": {"swaps.start", &messages.SwapModel{Name: "chat", To: "big", CanaryPct: 10, MinRequests: 50,
			MaxErrorPct: 3, JudgeSeconds: 1, ReadySeconds: 120}},
		"swap chat --promote":                {"swaps.promote", &messages.PromoteSwap{Name: "chat"}},
		"swap chat --rollback --reason slow": {"swaps.rollback", &messages.RollbackSwap{Name: "chat", Reason: "slow"}},
	} {
		requests, err := nc.SubscribeSync(apiRoot + tc.subject)
		if err != nil || nc.Flush() != nil {
			t.Fatal(err)
		}
		errs.Reset()
		c.run(strings.Fields(line)...)
		m, err := requests.NextMsg(hangLimit)
		if err != nil {
			t.Fatalf("%s: %v %s", line, err, errs)
		}
		got := tc.want.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal(m.Data, got); err != nil || !proto.Equal(got, tc.want) {
			t.Errorf("%s asks for %s: %v", line, m.Data, err)
		}
		if err := requests.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

// A command line that can't be meant ends before a daemon is asked.
func TestCommandLinesThatAreRefused(t *testing.T) {
	c, _, errs := openDoor(t, nil) // nothing answers: a request would end with exitUnreachable
	for _, line := range []string{"hint big --for 500ms", "hint big --for -1s", "hint big --for 1200000h", "hint big --mb 17592186044416", "pin tiny --for 1ms", "pin",
		"defrag --mb 17592186044416", "swap chat --promote --rollback", "swap chat=big --promote", "swap chat", "swap =big --judge 1s", "swap chat=big --judge -1s",
		"load", "load a b", "ps a", "queue a b", "nonsense", "send model/tiny", "send model/tiny EnsureModel {"} {
		errs.Reset()
		if got := c.run(strings.Fields(line)...); got != exitUsage || errs.Len() == 0 {
			t.Errorf("%s: exit %d, %s", line, got, errs)
		}
	}
}
