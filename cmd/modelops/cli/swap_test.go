package cli

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestSwapReadsItsArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		f    swapFlags
		args []string
		asks string
		want proto.Message
	}{
		"list":     {swapFlags{}, nil, "", nil},
		"start":    {swapFlags{judge: 1500 * time.Millisecond}, []string{"chat=big"}, "StartSwap", &messages.SwapModel{Name: "chat", To: "big", JudgeSeconds: 2}},
		"promote":  {swapFlags{promote: true}, []string{"chat"}, "PromoteSwap", &messages.PromoteSwap{Name: "chat"}},
		"rollback": {swapFlags{rollback: true, reason: "slow"}, []string{"org/a.b"}, "RollbackSwap", &messages.RollbackSwap{Name: "org/a.b", Reason: "slow"}},
	} {
		tc.f.order = &messages.SwapModel{}
		call, err := tc.f.call(tc.args)
		var asks string
		var request proto.Message
		if call != nil {
			_, _ = call(t.Context(), messages.Through(func(_ context.Context, o messages.Operation, r proto.Message) (proto.Message, error) {
				asks, request = o.Name, r
				return o.Answer(), nil
			}))
		}
		if err != nil || asks != tc.asks || !proto.Equal(request, tc.want) {
			t.Errorf("%s: %s %v %v", name, asks, request, err)
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
		if _, err := tc.f.call(tc.args); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
