//go:build !linux || !cgo

package nvml

import "testing"

func TestTheStubSaysThatItIsOff(t *testing.T) {
	d := Open(t.Context(), Options{})
	readings, err := d.Read(t.Context())
	if len(readings) != 0 || err != nil || d.Faults() != nil || d.Status() == "" || d.Close() != nil {
		t.Errorf("readings %v, error %v, status %q", readings, err, d.Status())
	}
}
