package mesh

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// pings pings somebody and wants that to become of it.
func (n *node) pings(to, state string) protocol.PingResult {
	n.Helper()
	res, err := n.m.Ping(context.Background(), protocol.PingRequest{To: to})
	if err != nil {
		n.Fatalf("%s pings %s: %v", n.name, to, err)
	}
	if res.State != state || res.OK != (state == protocol.PingAnswered) {
		n.Errorf("%s pings %s: %+v, want %s", n.name, to, res, state)
	}
	return res
}

func TestPing(t *testing.T) {
	story(t, func(w *world) {
		res := w.alice.pings("bob", protocol.PingAnswered)
		if res.Name != "bob" || res.Pubkey != w.bob.m.self.String() || res.Trust != protocol.TrustVerified || res.Mesh != "acme" {
			t.Errorf("answered %+v", res)
		}
		w.bob.session("api")
		pass(time.Second)
		if res := w.alice.pings("bob/api", protocol.PingAnswered); res.Session != "api" || res.Pubkey == res.MemberPubkey {
			t.Errorf("answered %+v", res)
		}
		if got := w.bob.inbox(nil); len(got) != 0 {
			t.Errorf("bob's inbox has %q", got)
		}
		if rows, err := w.alice.m.Outbox(); err != nil || len(rows) != 0 {
			t.Errorf("alice's outbox has %v, %v", rows, err)
		}
		if len(w.alice.m.pings.waiting) != 0 {
			t.Errorf("%d pings wait", len(w.alice.m.pings.waiting))
		}
		w.bob.stop()
		pass(time.Second)
		w.alice.pings("bob", protocol.PingOffline)
		w.alice.pings("bob/api", protocol.PingOffline)
		w.bob.start()
		pass(time.Second)
		if got := w.bob.inbox(nil); len(got) != 0 {
			t.Errorf("bob's inbox has %q", got)
		}
		w.alice.pings("bob", protocol.PingAnswered)
	})
}

func TestPingRefusals(t *testing.T) {
	story(t, func(w *world) {
		key := w.bobsKey()
		for to, code := range map[string]protocol.Code{
			"*": protocol.CodeInvalid, "@backend": protocol.CodeInvalid, "alice": protocol.CodeInvalid, "zoe": protocol.CodeNotFound,
			"bob/" + key: protocol.CodeNotSupported, "": protocol.CodeInvalid,
		} {
			if _, err := w.alice.m.Ping(context.Background(), protocol.PingRequest{To: to}); protocol.CodeOf(err) != code {
				t.Errorf("ping %q: %v, want %s", to, err, code)
			}
		}
		w.alice.unplug()
		if _, err := w.alice.m.Ping(context.Background(), protocol.PingRequest{To: "bob"}); protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("without a broker: %v", err)
		}
	})
}

// bobsKey makes an API key of bob's, of which alice knows, and returns its label.
func (w *world) bobsKey() string {
	w.Helper()
	if _, err := w.bob.m.CreateAPIKey(protocol.APIKeyRequest{Label: "ci", Capabilities: []string{"read"}}); err != nil {
		w.Fatal(err)
	}
	pass(time.Second)
	return "ci"
}

// Only the recipient's own signature is an answer: not the broker's word, and not that of another member.
func TestPingIsAnsweredByItsRecipientAlone(t *testing.T) {
	story(t, func(w *world) {
		e := w.alice.corrupt()
		defer e.end()
		w.alice.restart()
		synctest.Wait()
		e.lies(func(f frame) []frame {
			if !f.is(protocol.TypeReceipt) {
				return []frame{f}
			}
			forged, err := w.cathy.m.proof(&protocol.Header{ID: f.str("clientMessageId"), From: w.alice.m.self}, protocol.ReceiptBody{State: protocol.StateDelivered})
			if err != nil {
				t.Error(err)
			}
			b, _ := json.Marshal(forged)
			var proof frame
			json.Unmarshal(b, &proof)
			return []frame{f.with("proof", nil), f.with("proof", proof)}
		})
		start := time.Now()
		w.alice.pings("bob", protocol.PingSilent)
		if waited := time.Since(start); waited != pingPatience {
			t.Errorf("gave up after %s", waited)
		}
		e.lies(nil)
		w.alice.pings("bob", protocol.PingAnswered)
	})
}

// A broker that repeats a ping gets the same receipt again, and nothing is kept of it.
func TestRepeatedPing(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		w.alice.pings("bob", protocol.PingAnswered)
		for range 3 {
			e.say(e.pushed()[0])
		}
		pass(time.Second)
		if got := w.bob.messages(nil); len(got) != 0 {
			t.Errorf("bob's inbox has %+v", got)
		}
	})
}
