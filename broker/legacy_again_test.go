package broker

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// mail counts and takes the messages that have come; news is none.
func (c *client) mail() (ids []string) {
	c.w.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		var p legacyPush
		if json.Unmarshal(f.raw, &p); f.typ == "push" && p.Subtype == "" {
			ids = append(ids, p.MessageID)
		}
	}
	c.frames = nil
	return ids
}

func TestLegacyUnacknowledgedComesAgain(t *testing.T) {
	key := crypto.GenerateKey()
	for name, connect := range map[string]func(p *person) *client{
		"daemon":  func(p *person) *client { return p.says(p.signedHello(fields{"channel": "claudemesh-daemon"})) },
		"session": func(p *person) *client { return p.says(p.sessionHello(key, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			legacyStory(t, func(w *world) {
				dave, erin := w.original("dave"), w.original("erin")
				to := dave.key.Public()
				if name == "session" {
					to = key.Public()
				}
				c, e := connect(dave), erin.plain()
				start := time.Now()
				first := e.legacySend("1", to, "hi").MessageID
				if got := c.mail(); len(got) != 1 || got[0] != first {
					t.Fatalf("pushed %v", got)
				}
				time.Sleep(15 * time.Second)
				second := e.legacySend("2", to, "ho").MessageID
				time.Sleep(time.Until(start.Add(29 * time.Second)))
				if got := c.mail(); len(got) != 1 || got[0] != second {
					t.Fatalf("pushed %v before the time was over", got)
				}
				time.Sleep(2 * time.Second)
				if got := c.mail(); len(got) != 1 || got[0] != first {
					t.Fatalf("after 31 s: %v, want the first again", got)
				}
				c.write(fields{"type": "client_ack", "clientMessageId": first, "brokerMessageId": first})
				for i := range redeliverMost {
					time.Sleep(30 * time.Second)
					if got := c.mail(); len(got) != 1 || got[0] != second {
						t.Fatalf("repetition %d: %v, want the second alone", i, got)
					}
				}
				time.Sleep(10 * time.Minute)
				if got := c.mail(); len(got) != 0 {
					t.Fatalf("repeated for ever: %v", got)
				}
				c.lose()
				c = connect(dave)
				if got := c.mail(); len(got) != 1 || got[0] != second {
					t.Fatalf("on the next connection: %v", got)
				}
				c.write(fields{"type": "client_ack", "brokerMessageId": second})
				time.Sleep(10 * time.Minute)
				if got := c.mail(); len(got) != 0 {
					t.Fatalf("acknowledged and repeated: %v", got)
				}
			})
		})
	}
}

// An acknowledgement may name the message by its sender's id alone.
func TestLegacyAckByClientID(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		c, e := dave.says(dave.signedHello(fields{"channel": "claudemesh-daemon"})), erin.plain()
		e.legacySend("1", dave.key.Public(), "hi")
		p := c.wantBare("hi")
		c.write(fields{"type": "client_ack", "clientMessageId": p.ClientMessageID})
		time.Sleep(10 * time.Minute)
		if got := c.mail(); len(got) != 0 {
			t.Fatalf("repeated: %v", got)
		}
	})
}

// 0.1.4 and 1.37's commands have no memory of what they showed: what they have read never comes again.
func TestLegacyConfirmedByPingNeverComesAgain(t *testing.T) {
	for name, hello := range map[string]fields{"0.1.4": nil, "sdk": {"channel": "sdk"}} {
		t.Run(name, func(t *testing.T) {
			legacyStory(t, func(w *world) {
				dave, erin := w.original("dave"), w.original("erin")
				c, e := dave.says(dave.signedHello(hello)), erin.plain()
				e.legacySend("1", dave.key.Public(), "hi")
				if got := c.mail(); len(got) != 1 {
					t.Fatalf("pushed %v", got)
				}
				c.write(fields{"type": "set_status", "status": "working"})
				c.write(fields{"type": "set_status", "status": "idle"})
				time.Sleep(10 * time.Minute)
				c.lose()
				if got := append(c.mail(), dave.says(dave.signedHello(hello)).mail()...); len(got) != 0 {
					t.Fatalf("came again: %v", got)
				}
			})
		})
	}
}

// A daemon that connects takes over the member's mail: a session that had it is not told again.
func TestLegacyRepeatedByOneConnection(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		session := dave.says(dave.sessionHello(crypto.GenerateKey(), nil))
		erin.plain().legacySend("1", dave.key.Public(), "hi")
		if got := session.mail(); len(got) != 1 {
			t.Fatalf("pushed %v", got)
		}
		daemon := dave.says(dave.signedHello(fields{"channel": "claudemesh-daemon"}))
		if got := daemon.mail(); len(got) != 1 {
			t.Fatalf("the daemon got %v", got)
		}
		time.Sleep(45 * time.Second)
		if got := session.mail(); len(got) != 0 {
			t.Fatalf("the session got %v again", got)
		}
		if got := daemon.mail(); len(got) != 1 {
			t.Fatalf("the daemon got %v again", got)
		}
	})
}
