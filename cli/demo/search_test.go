package demo

import (
	"encoding/base64"
	"strings"
	"testing"
)

// A search proves something only if it finds what is there, however it is encoded and whatever stands before it.
func TestEncodingsFindASecret(t *testing.T) {
	secret := []byte("the nightly build is green")
	for _, before := range []string{"", "x", "xy", "xyz"} {
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			stack := enc.EncodeToString([]byte(before + string(secret) + "behind"))
			found := false
			for _, n := range encodings("it", secret) {
				found = found || strings.Contains(stack, n.text)
			}
			if !found {
				t.Errorf("not found behind %q in %s", before, stack)
			}
		}
	}
}

func TestWebSocketMessagesAreDecoded(t *testing.T) {
	long := strings.Repeat("a", 300)
	stream := "GET /ws HTTP/1.1\r\n\r\n" +
		"\x81\x85\x01\x02\x03\x04" + "\x69\x67\x6f\x68\x6e" + // masked "hello"
		"\x89\x00" + // ping
		"\x01\x03one" + "\x80\x03two" + // in two fragments
		"\x81\x7e\x01\x2c" + long + "\x81\x05cut"
	got := messages([]byte(stream))
	if len(got) != 3 || got[0] != "hello" || got[1] != "onetwo" || got[2] != long {
		t.Errorf("got %q", got)
	}
}
