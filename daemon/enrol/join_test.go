package enrol

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/protocol"
)

// stalled is the address of somebody who accepts connections and says nothing.
func stalled(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// forged is a mesh made by hand, for links and answers that no honest program makes.
type forged struct {
	owner, admin, linkKey *crypto.PrivateKey
	charter, cert         *protocol.Statement
}

func sign(t *testing.T, body protocol.Body, keys ...*crypto.PrivateKey) *protocol.Statement {
	t.Helper()
	s, err := protocol.Sign(body, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func forge(t *testing.T) *forged {
	f := &forged{owner: crypto.GenerateKey(), admin: crypto.GenerateKey(), linkKey: crypto.GenerateKey()}
	f.charter = sign(t, &protocol.Charter{Owner: f.owner.Public(), Created: 1, Slug: "acme"}, f.owner)
	f.cert = sign(t, &protocol.Cert{Mesh: f.charter.Mesh(), Issuer: f.owner.Public(), Member: f.admin.Public(), Name: "alice", Role: protocol.RoleAdmin, Issued: 1}, f.owner)
	return f
}

func (f *forged) link(t *testing.T, url string, edit func(*protocol.Invite)) string {
	inv := &protocol.Invite{
		Mesh: f.charter.Mesh(), Issuer: f.admin.Public(), Link: f.linkKey.Public(), Role: protocol.RoleMember, Uses: 1,
		Expires: time.Now().Add(time.Hour).Unix(), URL: url, Owner: f.owner.Public(),
	}
	issuer := f.admin
	if edit != nil {
		edit(inv)
		if inv.Issuer == f.owner.Public() {
			issuer = f.owner
		}
	}
	return protocol.MakeLink(sign(t, inv, issuer), f.linkKey.Seed())
}

// fakeBroker answers POST /join with what a test makes of it.
type fakeBroker struct {
	url string

	mu     sync.Mutex
	asked  []protocol.JoinRequest
	answer func(protocol.JoinRequest) (int, any)
}

func newFakeBroker(t *testing.T, answer func(protocol.JoinRequest) (int, any)) *fakeBroker {
	f := &fakeBroker{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req protocol.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		f.mu.Lock()
		f.asked = append(f.asked, req)
		answer := f.answer
		f.mu.Unlock()
		status, body := answer(req)
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(server.Close)
	f.url = "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"
	return f
}

func (f *fakeBroker) requests() []protocol.JoinRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func texts(all ...*protocol.Statement) protocol.JoinReply {
	r := protocol.JoinReply{OK: true}
	for _, s := range all {
		r.Statements = append(r.Statements, s.Text())
	}
	return r
}

// Links that are wrong in themselves are refused before anything is asked or written.
func TestJoinChecksBeforeTheNetwork(t *testing.T) {
	f := forge(t)
	b := newFakeBroker(t, func(protocol.JoinRequest) (int, any) { return 200, texts(f.charter, f.cert) })
	good := f.link(t, b.url, nil)
	for name, test := range map[string]struct {
		link string
		want protocol.Code
	}{
		"expired":     {f.link(t, b.url, func(i *protocol.Invite) { i.Expires = time.Now().Add(-time.Minute).Unix() }), protocol.CodeExpired},
		"cut off":     {good[:len(good)-9], protocol.CodeInvalid},
		"tampered":    {good[:60] + swap(good[60]) + good[61:], protocol.CodeInvalid},
		"other seed":  {good[:len(good)-9] + swap(good[len(good)-9]) + good[len(good)-8:], protocol.CodeInvalid},
		"of a web":    {"https://b.example/join/x", protocol.CodeInvalid},
		"empty":       {"", protocol.CodeInvalid},
		"without TLS": {f.link(t, "ws://b.example/ws", nil), protocol.CodeForbidden},
	} {
		home := daemontest.NewHome(t)
		_, err := joinWith(home, test.link, "bob")
		daemontest.WantCode(t, name, err, test.want)
		daemontest.WantNothing(t, home)
	}
	home := daemontest.NewHome(t)
	_, err := joinWith(home, good, "Bob!")
	daemontest.WantCode(t, "a bad name", err, protocol.CodeInvalid)
	daemontest.WantNothing(t, home)
	if n := len(b.requests()); n != 0 {
		t.Errorf("the broker was asked %d times", n)
	}
}

func swap(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// A broker cannot pass another mesh off as the link's, nor let somebody in whom the link's mesh does not want.
func TestEvilAnswerToJoin(t *testing.T) {
	f, other := forge(t), forge(t)
	member := crypto.GenerateKey()
	memberCert := sign(t, &protocol.Cert{Mesh: f.charter.Mesh(), Issuer: f.admin.Public(), Member: member.Public(), Name: "mallory", Role: protocol.RoleMember, Issued: 1}, f.admin)
	closed := sign(t, &protocol.Revoke{Mesh: f.charter.Mesh(), Issuer: f.admin.Public(), Kind: protocol.RevokeLink, Target: f.linkKey.Public(), At: 2}, f.admin)
	gone := sign(t, &protocol.Revoke{Mesh: f.charter.Mesh(), Issuer: f.owner.Public(), Kind: protocol.RevokeKey, Target: f.admin.Public(), At: 2}, f.owner)
	byMember := *f
	byMember.admin = member
	asAdmin := func(i *protocol.Invite) { i.Role = protocol.RoleAdmin }
	otherOwner := func(i *protocol.Invite) { i.Owner = other.owner.Public() }
	for name, test := range map[string]struct {
		forger *forged
		edit   func(*protocol.Invite)
		answer protocol.JoinReply
		want   protocol.Code
	}{
		"another mesh's charter":       {f, nil, texts(other.charter, other.cert), protocol.CodeForeign},
		"no charter":                   {f, nil, texts(f.cert), protocol.CodeForeign},
		"nothing":                      {f, nil, protocol.JoinReply{OK: true}, protocol.CodeForeign},
		"the issuer is no admin":       {f, nil, texts(f.charter), protocol.CodeForbidden},
		"the issuer was removed":       {f, nil, texts(f.charter, f.cert, gone), protocol.CodeForbidden},
		"a member's link":              {&byMember, nil, texts(f.charter, f.cert, memberCert), protocol.CodeForbidden},
		"an admin link by an admin":    {f, asAdmin, texts(f.charter, f.cert), protocol.CodeForbidden},
		"a link with another's owner":  {f, otherOwner, texts(f.charter, f.cert), protocol.CodeForeign},
		"closed, whatever it answered": {f, nil, texts(f.charter, f.cert, closed), protocol.CodeClosedLink},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFakeBroker(t, func(protocol.JoinRequest) (int, any) { return 200, test.answer })
			home := daemontest.NewHome(t)
			_, err := joinWith(home, test.forger.link(t, b.url, test.edit), "bob")
			daemontest.WantCode(t, "join", err, test.want)
			daemontest.WantNothing(t, home)
		})
	}
}

// What the broker refuses leaves nothing behind and is told with its reason.
func TestJoinRefused(t *testing.T) {
	f := forge(t)
	for code, status := range map[protocol.Code]int{
		protocol.CodeUsedUp: 410, protocol.CodeClosedLink: 410, protocol.CodeExpired: 410, protocol.CodeForeign: 403, protocol.CodeNotFound: 404,
	} {
		b := newFakeBroker(t, func(protocol.JoinRequest) (int, any) { return status, protocol.JoinReply{Code: code, Error: "because"} })
		home := daemontest.NewHome(t)
		_, err := joinWith(home, f.link(t, b.url, nil), "bob")
		if e := daemontest.WantCode(t, "join", err, code); !strings.Contains(e.Message, "because") {
			t.Errorf("%s: message %q", code, e.Message)
		}
		daemontest.WantNothing(t, home)
	}
}

// A crash, or a broker that breaks off, between the request and config.json does not lose the key: the next join comes
// with the same one, even when the link has expired since.
func TestJoinIsTakenUp(t *testing.T) {
	f := forge(t)
	b := newFakeBroker(t, func(protocol.JoinRequest) (int, any) { return 502, map[string]string{"proxy": "broken"} })
	home := daemontest.NewHome(t)
	expires := time.Now().Add(time.Hour)
	link := f.link(t, b.url, func(i *protocol.Invite) { i.Expires = expires.Unix() })
	_, err := joinWith(home, link, "bob")
	daemontest.WantCode(t, "join", err, protocol.CodeUnavailable)
	first := b.requests()[0]
	enrol, err := protocol.ParseText(first.Enrol)
	if err != nil {
		t.Fatal(err)
	}
	key := enrol.Body.(*protocol.Enrol).Member
	cert := sign(t, &protocol.Cert{Mesh: f.charter.Mesh(), Issuer: f.admin.Public(), Member: key, Name: "bob-2", Role: protocol.RoleMember, Issued: 3}, f.admin)
	b.mu.Lock()
	b.answer = func(protocol.JoinRequest) (int, any) { return 200, texts(f.charter, f.cert, cert) }
	b.mu.Unlock()
	joined, err := Join(context.Background(), JoinOptions{Home: home, Link: link, Name: "bob", Now: func() time.Time { return expires.Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	if !joined.Resumed || joined.Trust != protocol.TrustVerified || joined.Membership.Key.Public() != key || joined.Membership.Name != "bob-2" {
		t.Errorf("joined %+v", joined)
	}
	if again := b.requests()[1]; again != first {
		t.Error("the second request is another one")
	}
	if pending, _ := home.LoadPending(f.linkKey.Public()); pending != nil {
		t.Error("the key is still kept apart")
	}
}

// The key is on disk before the broker hears of it, and never in the request.
func TestJoinKeepsTheKeyFirst(t *testing.T) {
	f := forge(t)
	home := daemontest.NewHome(t)
	b := newFakeBroker(t, func(req protocol.JoinRequest) (int, any) {
		pending, err := home.LoadPending(f.linkKey.Public())
		if err != nil || pending == nil || pending.Enrol != req.Enrol {
			t.Errorf("at the time of the request: %+v, %v", pending, err)
		}
		return 200, texts(f.charter, f.cert)
	})
	joined, err := Join(context.Background(), JoinOptions{Home: home, Link: f.link(t, b.url, nil), Name: "bob", WaitVerified: -1})
	if err != nil {
		t.Fatal(err)
	}
	seed := f.linkKey.Seed()
	sent, _ := json.Marshal(b.requests())
	for _, secret := range []string{joined.Membership.Key.Hex()[:64], string(seed[:])} {
		if strings.Contains(string(sent), secret) {
			t.Error("a secret was sent")
		}
	}
}

// An admin link is not admitted by itself.
func TestJoinAsAdmin(t *testing.T) {
	f := forge(t)
	b := newFakeBroker(t, func(protocol.JoinRequest) (int, any) { return 200, texts(f.charter, f.cert) })
	link := f.link(t, b.url, func(i *protocol.Invite) { i.Role, i.Issuer = protocol.RoleAdmin, f.owner.Public() })
	joined, err := joinWith(daemontest.NewHome(t), link, "bob")
	if err != nil || joined.Trust != protocol.TrustInvited || !strings.Contains(joined.Reason, "owner") {
		t.Errorf("joined %+v, %v", joined, err)
	}
	if len(b.requests()) != 1 {
		t.Errorf("asked %d times", len(b.requests()))
	}
}

// One link pasted twice at one moment joins once.
func TestJoinTwiceAtOnce(t *testing.T) {
	f := forge(t)
	b := newFakeBroker(t, func(protocol.JoinRequest) (int, any) { return 200, texts(f.charter, f.cert) })
	home, link := daemontest.NewHome(t), f.link(t, b.url, nil)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := Join(context.Background(), JoinOptions{Home: home, Link: link, Name: "bob", WaitVerified: -1})
			errs <- err
		}()
	}
	a, z := <-errs, <-errs
	if a != nil {
		a, z = z, a
	}
	if a != nil {
		t.Fatal(a)
	}
	daemontest.WantCode(t, "the second", z, protocol.CodeExists)
}

func joinWith(home config.Home, link, name string) (*Joined, error) {
	return Join(context.Background(), JoinOptions{Home: home, Link: link, Name: name, WaitVerified: 10 * time.Second})
}
