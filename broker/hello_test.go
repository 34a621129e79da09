package broker

import (
	"encoding/base64"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// wantHelloRefused says hello and wants to be sent away with that code.
func (c *client) wantHelloRefused(h protocol.Hello, code protocol.Code) {
	c.w.Helper()
	c.write(h)
	var e protocol.ErrorFrame
	c.wantFrame(protocol.TypeError, &e)
	if e.Code != code || e.ReqID != h.ReqID {
		c.w.Fatalf("%s: refused as %s (%s) to %q, want %s", c.name, e.Code, e.Message, e.ReqID, code)
	}
	if code == protocol.CodeRevoked {
		c.wantClose(protocol.CloseBanned)
		return
	}
	c.wantClose(websocket.ClosePolicyViolation)
}

func (c *client) auth() protocol.HelloAuth {
	return protocol.HelloAuth{
		Mesh: c.w.mesh, Member: c.key.Public(), Host: testHost, Nonce: c.challenge(), At: time.Now().UnixMilli(), Instance: c.instance,
	}
}

func TestHelloIsRefused(t *testing.T) {
	tests := []struct {
		name  string
		hello func(w *world, c *client) protocol.Hello
		code  protocol.Code
	}{
		{"without auth", func(w *world, c *client) protocol.Hello {
			h := c.helloFor(c.key, "control")
			h.Auth = ""
			return h
		}, protocol.CodeBadStatement},
		{"to another mesh", func(w *world, c *client) protocol.Hello {
			h := c.helloFor(c.key, "control")
			h.MeshID = "00000000000000000000000000000000"
			return h
		}, protocol.CodeNotMember},
		{"with a made up nonce", func(w *world, c *client) protocol.Hello {
			a := c.auth()
			a.Nonce[0] ^= 1
			return c.helloWith(a, c.key, "control")
		}, protocol.CodeUnauthorized},
		{"with a nonce that a newer one replaced", func(w *world, c *client) protocol.Hello {
			a := c.auth()
			c.challenge()
			return c.helloWith(a, c.key, "control")
		}, protocol.CodeUnauthorized},
		{"for another broker", func(w *world, c *client) protocol.Hello {
			a := c.auth()
			a.Host = "mallory.example"
			return c.helloWith(a, c.key, "control")
		}, protocol.CodeUnauthorized},
		{"61 s early", func(w *world, c *client) protocol.Hello {
			a := c.auth()
			a.At = time.Now().Add(-protocol.ClockSkew - time.Second).UnixMilli()
			return c.helloWith(a, c.key, "control")
		}, protocol.CodeTimestamp},
		{"61 s late", func(w *world, c *client) protocol.Hello {
			a := c.auth()
			a.At = time.Now().Add(protocol.ClockSkew + time.Second).UnixMilli()
			return c.helloWith(a, c.key, "control")
		}, protocol.CodeTimestamp},
		{"with a session statement of another key", func(w *world, c *client) protocol.Hello {
			h := c.helloFor(c.key, "control")
			h.Session = c.sessionStatement(c.sessionKey("web"), "web").Text()
			return h
		}, protocol.CodeForeign},
		{"with an expired session statement", func(w *world, c *client) protocol.Hello {
			h := c.helloFor(c.key, "control")
			h.Session = w.sign(&protocol.Session{
				Mesh: w.mesh, Member: c.key.Public(), Session: c.key.Public(), Label: "x",
				Issued: time.Now().Add(-2 * time.Hour).UnixMilli(), Expires: time.Now().Add(-time.Hour).UnixMilli(),
			}, c.key, c.key).Text()
			return h
		}, protocol.CodeExpired},
		{"as a session with the hello of a member", func(w *world, c *client) protocol.Hello {
			h := c.helloFor(c.key, "control")
			h.Type = protocol.TypeSessionHello
			return h
		}, protocol.CodeInvalid},
		{"with a damaged signature", func(w *world, c *client) protocol.Hello {
			h := c.helloFor(c.key, "control")
			b := []byte(h.Auth)
			if i := len(b) - 20; b[i] == 'A' {
				b[i] = 'B'
			} else {
				b[i] = 'A'
			}
			h.Auth = string(b)
			return h
		}, protocol.CodeBadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			story(t, Limits{}, func(w *world) {
				c := w.bob.dial()
				c.wantHelloRefused(tt.hello(w, c), tt.code)
				w.bob.connect()
			})
		})
	}
}

func TestHelloWithinTheSkew(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		for _, off := range []time.Duration{-protocol.ClockSkew, protocol.ClockSkew} {
			c := w.bob.dial()
			a := c.auth()
			a.At = time.Now().Add(off).UnixMilli()
			c.hello(c.helloWith(a, c.key, "control"))
		}
	})
}

func TestRecordedHelloIsRefused(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.dial()
		h := bob.helloFor(w.bob.key, "control")
		bob.hello(h)
		bob.wantRefused(h, protocol.CodeInvalid) // on its own connection

		mallory := w.bob.dial()
		mallory.wantHelloRefused(h, protocol.CodeUnauthorized) // without a challenge
		mallory = w.bob.dial()
		mallory.challenge()
		mallory.wantHelloRefused(h, protocol.CodeUnauthorized)
	})
}

func TestStrangerIsRefused(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		dora := w.stranger("dora").dial()
		dora.wantHelloRefused(dora.helloFor(dora.key, "control"), protocol.CodeNotMember)
	})
}

func TestNothingButHelloBeforeHello(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		c := w.bob.dial()
		for _, typ := range []string{protocol.TypeListPeers, protocol.TypeSend, protocol.TypeClientAck, "nonsense"} {
			c.wantRefused(protocol.Tag{Type: typ}, protocol.CodeNoHello)
		}
		c.hello(c.helloFor(c.key, "control"))
		c.wantRefused(protocol.Tag{Type: "nonsense"}, protocol.CodeUnknownType)
		c.writeRaw([]byte("[1]"))
		var e protocol.ErrorFrame
		if c.wantFrame(protocol.TypeError, &e); e.Code != protocol.CodeBadFrame {
			t.Errorf("answer to an array: %+v", e)
		}
	})
}

func TestNewerConnectionReplacesTheOlder(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		old := w.bob.connect()
		bob := w.bob.connect()
		old.wantClose(websocket.CloseNormalClosure)
		alice.Send(w.bob, "hi")
		bob.Want("hi")
	})
}

func TestCloneIsRefusedWhileTheOtherLives(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		first := w.bob.connect()
		own := w.bob.instance
		w.bob.instance = [8]byte{1}
		c := w.bob.dial()
		c.wantHelloRefused(c.helloFor(w.bob.key, "control"), protocol.CodeCloned)
		c = w.bob.dial()
		c.wantHelloRefused(c.helloFor(w.bob.sessionKey("web"), "web"), protocol.CodeCloned)
		first.lose()
		w.bob.connect()
		w.bob.instance = own
		c = w.bob.dial()
		c.wantHelloRefused(c.helloFor(w.bob.key, "control"), protocol.CodeCloned)
	})
}

func TestSessionKeyOfAnotherMember(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		w.bob.session("web")
		w.cathy.sessions["web"] = w.bob.sessionKey("web")
		c := w.cathy.dial()
		c.wantHelloRefused(c.helloFor(w.bob.sessionKey("web"), "web"), protocol.CodeForbidden)
		c = w.cathy.dial() // nor may a member key be used as a session's
		c.wantHelloRefused(c.helloFor(w.bob.key, "bob"), protocol.CodeForbidden)
	})
}

func TestRevokedKeyIsSentAway(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob, web := w.alice.connect(), w.bob.connect(), w.bob.session("web")
		alice.wantPublished(w.revoke(w.bob.key.Public()))
		for _, c := range []*client{bob, web} {
			var e protocol.ErrorFrame
			if c.wantFrame(protocol.TypeError, &e); e.Code != protocol.CodeRevoked {
				t.Errorf("told %+v", e)
			}
			c.wantClose(protocol.CloseBanned)
		}
		c := w.bob.dial()
		c.wantHelloRefused(c.helloFor(w.bob.key, "control"), protocol.CodeRevoked)
		alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeUnknownRecipient)
		alice.wantNotQueued(alice.seal(w.bob.sessionKey("web").Public(), protocol.PriorityNext, "hi"), protocol.CodeUnknownRecipient)
		w.restart()
		c = w.bob.dial()
		c.wantHelloRefused(c.helloFor(w.bob.key, "control"), protocol.CodeRevoked)
	})
}

func TestRevokedWhileAwayLeavesAtOnce(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		bob.lose()
		alice.clear()
		alice.wantPublished(w.revoke(w.bob.key.Public()))
		alice.wantPresence(func(p protocol.Presence) bool { return slices.Equal(p.Left, []string{w.bob.key.Public().String()}) })
	})
}

func TestRevokedSessionKeyOnly(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob, web := w.bob.connect(), w.bob.session("web")
		key := w.bob.sessionKey("web").Public()
		bob.wantPublished(w.sign(&protocol.Revoke{
			Mesh: w.mesh, Issuer: w.bob.key.Public(), Kind: protocol.RevokeKey, Target: key, At: time.Now().Unix(), Reason: "ended",
		}, w.bob.key))
		web.wantClose(protocol.CloseBanned)
		bob.Send(w.alice, "still here")
	})
}

func TestUnknownRecipient(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		alice.wantNotQueued(alice.seal(crypto.GenerateKey().Public(), protocol.PriorityNext, "hi"), protocol.CodeUnknownRecipient)
		s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
		s.TargetSpec = "bob"
		alice.wantNotQueued(s, protocol.CodeInvalid)
	})
}

func TestAcceptedHostDisplacesTheOther(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob, web := w.alice.connect(), w.bob.connect(), w.bob.session("web")
		w.bob.instance = [8]byte{1}
		c := w.bob.dial()
		a := c.auth()
		a.Features = []string{protocol.FeatureHost}
		c.hello(c.helloWith(a, w.bob.key, "control"))
		for _, old := range []*client{bob, web} {
			old.wantClose(websocket.ClosePolicyViolation)
		}
		alice.Send(w.bob, "hi")
		c.Want("hi")
		time.Sleep(2 * protocol.PresenceLease)
		if _, there := alice.peers()[w.bob.sessionKey("web").Public().String()]; there {
			t.Error("the session of the displaced machine is still listed")
		}
		w.bob.instance = [8]byte{2} // the other does not come back without being told so
		d := w.bob.dial()
		d.wantHelloRefused(d.helloFor(w.bob.key, "control"), protocol.CodeCloned)
	})
}

// What a thief of bob's session key could do about where bob is at home: say hello as the session from another machine, with or
// without the feature host, while bob is there or before he comes. He gets no connection, so he keeps nobody out. Nor does a
// link, a certificate of his own, or the key of another member help him: bob's own signature is missing.
func TestStolenSessionKey(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		stolen, statement := w.bob.sessionKey("web"), ""
		hello := func(c *client, by *crypto.PrivateKey, features ...string) protocol.Hello {
			c.w.Helper()
			auth := &protocol.HelloAuth{
				Mesh: w.mesh, Member: w.bob.key.Public(), Session: stolen.Public(), Host: testHost, Nonce: c.challenge(),
				At: time.Now().UnixMilli(), Features: features, Instance: [8]byte{6, 6, 6},
			}
			raw := w.sign(auth, w.bob.key, stolen).Raw()
			block := raw[:len(raw)-2*crypto.SignatureSize]
			sigs := raw[len(raw)-crypto.SignatureSize:] // the session's
			if by != nil {
				sig := by.Sign(block)
				sigs = slices.Concat(sig[:], sigs)
			}
			return protocol.Hello{
				Tag: protocol.Tag{Type: protocol.TypeSessionHello, ReqID: "hello"}, MeshID: string(w.mesh), Session: statement,
				Auth: base64.RawURLEncoding.EncodeToString(slices.Concat(block, sigs)), ProtocolVersion: protocol.Version,
			}
		}
		statement = w.bob.sessionStatement(stolen, "web").Text()
		attack := func() {
			for _, features := range [][]string{nil, {protocol.FeatureHost}} {
				c := w.bob.dial()
				c.wantHelloRefused(hello(c, nil, features...), protocol.CodeBadStatement)
				for _, by := range []*crypto.PrivateKey{stolen, w.cathy.key} {
					c = w.bob.dial()
					c.wantHelloRefused(hello(c, by, features...), protocol.CodeBadSignature)
				}
			}
		}
		attack()
		bob := w.bob.connect()
		attack()
		web := w.bob.session("web")
		attack()
		w.alice.connect().Send(w.bob, "hi")
		bob.Want("hi")
		// Revoking the key needs no connection.
		w.bob.instance = [8]byte{1} // which a copy of his home keeps him from
		c := w.bob.dial()
		c.wantHelloRefused(c.helloFor(w.bob.key, "control"), protocol.CodeCloned)
		offer := protocol.OfferRequest{Mesh: w.mesh, Statements: []string{w.own(w.bob, stolen.Public()).Text()}}
		if status, body := w.post("/api/v1/statements", "", offer); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		web.wantClose(protocol.CloseBanned)
	})
}
