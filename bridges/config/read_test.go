package config

import (
	"strings"
	"testing"
)

func TestAFileWithoutAnEndIsRefused(t *testing.T) {
	_, err := Load("/dev/zero", nil, "")
	if err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Fatal(err)
	}
}
