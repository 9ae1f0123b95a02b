package nvml

import (
	"fmt"
	"testing"
)

func TestVisible(t *testing.T) {
	all := []candidate{
		{0, "GPU-aaaa1111", "GPU-aaaa1111"}, {1, "GPU-bbbb2222", "GPU-bbbb2222"},
		{2, "MIG-cccc3333", "GPU-dddd4444"}, {2, "MIG-eeee5555", "GPU-dddd4444"}, {3, "", ""},
	}
	for text, want := range map[string]string{
		"": "[]", "-1": "[]", "NoDevFiles": "[]", "1": "[1]", "1,0": "[1 0]", "0,-1,1": "[0]", "0,,1": "[0]", " 1 , 0": "[1 0]", "1,1": "[1]",
		"7": "[] 7", "0,7,1": "[0] 7", "2": "[2 3]", "3": "[4]", "gpu0": "[] gpu0", "GPU-": "[] GPU-",
		"GPU-bbbb": "[1]", "gpu-BBBB2222": "[1]", "GPU-dddd": "[2 3]", "MIG-eeee5555": "[3]", "MIG-GPU-dddd4444/7/0": "[2 3]", "GPU-bbbb2222f": "[] GPU-bbbb2222f",
	} {
		v, set := visibleOf(&text)
		shown, unknown := v.shown(all)
		got := fmt.Sprint(shown)
		if unknown != "" {
			got += " " + unknown
		}
		if !set || got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if v, set := visibleOf(nil); set || v != nil {
		t.Error("the variable isn't set, and hides devices")
	}
}
