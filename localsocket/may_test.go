package localsocket

import "testing"

func TestMayConnect(t *testing.T) {
	for _, test := range []struct {
		peer uint32
		own  int
		want bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {65534, 0, false}, {0, 0, true}} {
		if got := mayConnect(test.peer, test.own); got != test.want {
			t.Errorf("%d at the socket of %d: %v", test.peer, test.own, got)
		}
	}
}
