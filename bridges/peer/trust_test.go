package peer

import "testing"

func TestIsLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:7422": true, "127.9.9.9:1": true, "[::1]:7422": true, "[::ffff:127.0.0.1]:1": true, "localhost:7422": true, "LocalHost:7422": true, ":7422": true,
		"192.168.1.2:7422": false, "0.0.0.0:1": false, "[::]:1": false, "pc2.lan:7422": false, "localhost.lan:1": false, "127.0.0.1": false, "": false,
	} {
		if IsLoopback(address) != want {
			t.Errorf("%q: %t", address, !want)
		}
	}
}
