package cli

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestSwapReadsItsArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		f       swapFlags
		args    []string
		subject string
		want    proto.Message
	}{
		"list":     {swapFlags{}, nil, "", nil},
		"start":    {swapFlags{judge: 1500 * time.Millisecond}, []string{"chat=big"}, "swaps.start", &messages.SwapModel{Name: "chat", To: "big", JudgeSeconds: 2}},
		"promote":  {swapFlags{promote: true}, []string{"chat"}, "swaps.promote.chat", &messages.PromoteSwap{Name: "chat"}},
		"rollback": {swapFlags{rollback: true, reason: "slow"}, []string{"org/a.b"}, "swaps.rollback.org/a.b", &messages.RollbackSwap{Name: "org/a.b", Reason: "slow"}},
	} {
		tc.f.order = &messages.SwapModel{}
		subject, request, err := tc.f.call(tc.args)
		if err != nil || subject != tc.subject || tc.want == nil != (request == nil) || tc.want != nil && !proto.Equal(request, tc.want) {
			t.Errorf("%s: %s %v %v", name, subject, request, err)
		}
	}
	for name, tc := range map[string]struct {
		f    swapFlags
		args []string
	}{
		"promote without a name":    {swapFlags{promote: true}, nil},
		"rollback without a name":   {swapFlags{rollback: true}, []string{""}},
		"a model without a name":    {swapFlags{}, []string{"=big"}},
		"a name without an action":  {swapFlags{}, []string{"chat"}},
		"promote and a new model":   {swapFlags{promote: true}, []string{"chat=big"}},
		"a trial of negative time":  {swapFlags{judge: -time.Second}, []string{"chat=big"}},
		"more seconds than counted": {swapFlags{ready: 1 << 62}, []string{"chat=big"}},
	} {
		tc.f.order = &messages.SwapModel{}
		if _, _, err := tc.f.call(tc.args); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
