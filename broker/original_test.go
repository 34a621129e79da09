package broker

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// What clients of the original claudemesh sent to its broker.
const (
	originalHello   = `{"type":"hello","meshId":"8H0boUszP2pcBA8ohQchAsGHcrLYDCVg","memberId":"nEjOegqBkXtSnJQBkuaSXB8HKRTlgq5J","pubkey":"e52493026aadf4ce6f4ac7be90ae855bd057bc0d6505a9d53a7ecea0a7187b2d","sessionId":"9320-1795292033494","pid":9320,"cwd":"/home/b","timestamp":1795292033493,"signature":"790606cf26b0931f7169e4ccebdd6e4fbf5ae556b1addb9824ca9d0fd8fed9d5be0c2055df178ca2718973c00f7377dca6f524f707e4eaa5e280abd2e970080a"}`
	originalDaemon  = `{"type":"hello","meshId":"e1Fx9BMF916ijDQKsS1sYuJ3dRHcHsc2","memberId":"Y9vyoDtXS3c15wuVnmvRUPilLU6KehMg","pubkey":"c4b32dfc7763a703c536e49b5252d9d115ade8b0efd9da60a58a41b0953ecf51","sessionId":"daemon-12299","pid":12299,"cwd":"/home/a","hostname":"vm","peerType":"ai","channel":"claudemesh-daemon","timestamp":1795292135432,"signature":"6e9e316c9fc21f620c9fe7044194f6539b92bcf2c2d523904fde96fba04084df977a627be239f6d45feceb6f2fc792b90229e455f3db5006e15dac26bfc73b0f"}`
	originalSession = `{"type":"session_hello","meshId":"e1Fx9BMF916ijDQKsS1sYuJ3dRHcHsc2","parentMemberId":"Y9vyoDtXS3c15wuVnmvRUPilLU6KehMg","parentMemberPubkey":"c4b32dfc7763a703c536e49b5252d9d115ade8b0efd9da60a58a41b0953ecf51","sessionPubkey":"b891934963bede9f7d4bb1deb8d8967ba2c211d8241ed1c30843219093850ab0","parentAttestation":{"sessionPubkey":"b891934963bede9f7d4bb1deb8d8967ba2c211d8241ed1c30843219093850ab0","parentMemberPubkey":"c4b32dfc7763a703c536e49b5252d9d115ade8b0efd9da60a58a41b0953ecf51","expiresAt":1795335342436,"signature":"405222af58b1535a47baadc118ecf7b6b8f3f4382058da66f9383b27c7335add4b10bc12904431c236b52553e040e6885ca5ee880bd2f8dcf61d698878275207"},"displayName":"alice-1","sessionId":"bb9e5704-81cf-4d0f-a50e-45a6bc15c0e5","pid":12409,"cwd":"/home/a","hostname":"vm","peerType":"ai","channel":"claudemesh-session","role":"lead","timestamp":1795292142436,"signature":"10f6f1fc8c67a524fa7e31eaa855aeca10898df11f4bce4b3a8d4add1a56970bc5a2bf6afa0993b320e9a57eab4f278a271f51bfbf05502e7ba672e269802908"}`
	originalJoin    = `{"invite_token":"eyJ2IjoxLCJtZXNoX2lkIjoiOEgwYm9Vc3pQMnBjQkE4b2hRY2hBc0dIY3JMWURDVmciLCJtZXNoX3NsdWciOiJzbW9rZS10ZXN0IiwiYnJva2VyX3VybCI6IndzOi8vMTI3LjAuMC4xOjc5MTEvd3MiLCJleHBpcmVzX2F0IjoxNzk1Mjk1NjMxLCJtZXNoX3Jvb3Rfa2V5IjoiYzIxdmEyVXRkR1Z6ZEMxdFpYTm9MWEp2YjNRdGEyVjVMV1JsZGciLCJyb2xlIjoibWVtYmVyIiwib3duZXJfcHVia2V5IjoiOGExYzUxNmZiZjk3MmYzZWE4NzNhODNmMDdjY2U5MDkwNmRjZTEwODk1ZWI4ZjVjMmQxMWU3MmY4MjBlZmQ0MCIsInNpZ25hdHVyZSI6ImEzYTVlODNiY2JiYTkyYWM4NDM5ZTk3NjZkZTZlNzFhNDA4MDZlYmFmZGYyZDRmNjRjODVjM2VkM2UwZjQ2ZWE4MzAyNGNhMTk1Y2VlNzU0OGU2MDIxMWZjN2RmZDI2NzA2YzViN2FiMzY5NmFiZGEwYjMyYWE4ZjhlOGZjYTBjIn0","invite_payload":{"v":1,"mesh_id":"8H0boUszP2pcBA8ohQchAsGHcrLYDCVg","mesh_slug":"smoke-test","broker_url":"ws://127.0.0.1:7911/ws","expires_at":1795295631,"mesh_root_key":"c21va2UtdGVzdC1tZXNoLXJvb3Qta2V5LWRldg","role":"member","owner_pubkey":"8a1c516fbf972f3ea873a83f07cce90906dce10895eb8f5c2d11e72f820efd40","signature":"a3a5e83bcbba92ac8439e9766de6e71a40806ebafdf2d4f64c85c3ed3e0f46ea83024ca195cee7548e60211fc7dfd26706c5b7ab3696abda0b32aa8f8e8fca0c"},"peer_pubkey":"7af7bc78b182d44cc30a12aa2c6fb8eb09b51e4de77679dd9e6a82da23f75f12","display_name":"vm-9171"}`
)

// wantTold fails unless the refusal names the original claudemesh, and what helps.
func (w *world) wantTold(what, text string) {
	w.Helper()
	for _, word := range []string{"original claudemesh", "new link"} {
		if !strings.Contains(text, word) {
			w.Errorf("%s: refused with %q, which does not say %q", what, text, word)
		}
	}
}

// Cathy still has an original client. Whatever mesh its hello names, the broker says what is wrong and hangs up.
func TestOriginalClientIsRefused(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		for what, hello := range map[string]string{"0.1.4": originalHello, "daemon of 1.37": originalDaemon, "session of 1.37": originalSession} {
			var f map[string]any
			if err := json.Unmarshal([]byte(hello), &f); err != nil {
				t.Fatal(err)
			}
			for _, mesh := range []string{f["meshId"].(string), string(w.mesh)} {
				f["meshId"] = mesh
				c := w.cathy.dial()
				c.write(f)
				var e protocol.ErrorFrame
				c.wantFrame(protocol.TypeError, &e)
				if e.Code != protocol.CodeNotSupported || e.Retryable {
					t.Errorf("%s: refused as %s", what, e.Code)
				}
				w.wantTold(what, e.Message)
				c.wantClose(websocket.ClosePolicyViolation)
			}
		}
	})
}

func TestOriginalJoinIsRefused(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		status, body := w.post("/join", "", json.RawMessage(originalJoin))
		var said struct {
			OK    bool
			Code  protocol.Code
			Error string // which the original client prints
		}
		if err := json.Unmarshal([]byte(body), &said); err != nil {
			t.Fatal(err)
		}
		if status != http.StatusBadRequest || said.OK || said.Code != protocol.CodeNotSupported {
			t.Errorf("join: %d %s", status, body)
		}
		w.wantTold("join", said.Error)
	})
}
