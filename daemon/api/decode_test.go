package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/protocol"
)

// What alice's script posts is refused where decoding would change it: bob never reads a replacement character that she did not write.
func TestDecodeChangesNoText(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"to":"bob","body":"if (a < b && c > d) \u003c \ud83d\udc69 \\ud800 \u0000 é"}`: true,
		`{"to":"bob","body":"` + "\ufffd" + `"}`:                                         true,
		`{"to":"bob","body":"` + "\xff\xd8\xff\xe0" + `"}`:                               false,
		`{"to":"bob","body":"` + "\xed\xa0\x80" + `"}`:                                   false,
		`{"to":"bob","body":"\ud83d"}`:                                                   false,
		`{"to":"bob","body":"\udc69\ud83d"}`:                                             false,
	} {
		r := httptest.NewRequest("POST", "/v1/send", strings.NewReader(body))
		boundBody(r)
		var req protocol.SendRequest
		err := decode(r, &req)
		if (err == nil) != ok {
			t.Errorf("%q: %v", body, err)
		}
		if err != nil {
			daemontest.WantRefusal(t, err, protocol.CodeInvalid)
			continue
		}
		var want struct{ Body string }
		if json.Unmarshal([]byte(body), &want) != nil || req.Body != want.Body {
			t.Errorf("%q: read %q", body, req.Body)
		}
	}
}

// A request that is too long is refused with its size, whether its head names the size or not, and is held in memory only as far as it is allowed.
func TestDecodeSaysTheSize(t *testing.T) {
	const head, tail = `{"to":"bob","body":"`, `"}`
	for _, n := range []int64{MaxRequest, 30 << 20, countMost + 5} {
		body := io.MultiReader(strings.NewReader(head), io.LimitReader(anything{}, n), strings.NewReader(tail))
		r := httptest.NewRequest("POST", "/v1/send", body)
		boundBody(r)
		err := decode(r, new(protocol.SendRequest))
		daemontest.WantRefusal(t, err, protocol.CodePayloadTooLarge)
		want := fmt.Sprintf("request of %d bytes,", n+int64(len(head)+len(tail)))
		if n > countMost {
			want = fmt.Sprintf("request of %d or more bytes,", countMost)
		}
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// anything is a reader of bytes without end.
type anything struct{}

func (anything) Read(p []byte) (int, error) { return len(p), nil }
