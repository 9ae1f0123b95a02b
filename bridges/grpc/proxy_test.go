package grpcapi

import (
	"context"
	"testing"

	"google.golang.org/grpc/metadata"
)

// TestEveryValueIsSeen: who decides by a proxy's header must see that there are two.
func TestEveryValueIsSeen(t *testing.T) {
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("x-user", "eve", "x-user", "bob"))
	header, ok := credentialsOf(ctx).Header.(interface{ Values(name string) []string })
	if !ok || len(header.Values("X-User")) != 2 {
		t.Error("the second value is hidden")
	}
}
