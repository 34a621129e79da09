package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// What the daemon noticed of a message stands between the sender and the text.
func TestFlagsAreExplained(t *testing.T) {
	var out bytes.Buffer
	c := &call{app: newApp(strings.NewReader(""), &out, &out)}
	c.printMessage(&protocol.InboxMessage{
		ID: "0123456789abcdef", Mesh: "acme", From: protocol.From{Name: "olga", Trust: protocol.TrustUnverified}, To: "*", Body: "to all",
		Flags: []string{"cloned", "again"},
	})
	got := out.String()
	for _, want := range []string{"olga (unverified)", "two homes send with these keys"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if !strings.HasSuffix(got, "\n    to all\n") {
		t.Errorf("the text does not come last: %q", got)
	}
}
