package daemon

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
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

func join(home config.Home, link, name string) (*Joined, error) {
	return Join(context.Background(), JoinOptions{Home: home, Link: link, Name: name, WaitVerified: 10 * time.Second})
}

// alice creates, runs a daemon and makes a link; bob joins and is verified; cathy comes with the same link too late.
func TestJoin(t *testing.T) {
	b, alicesHome, bobsHome, cathysHome := newBroker(t), newHome(t), newHome(t), newHome(t)
	create(t, alicesHome, b, "acme", "alice")
	alice := startDaemon(t, alicesHome)
	alice.wantState("acme", protocol.ConnOpen)
	link := alice.link("acme", 1).Link

	joined, err := join(bobsHome, link, "bob")
	if err != nil {
		t.Fatal(err)
	}
	if joined.Trust != protocol.TrustVerified || joined.Membership.Name != "bob" || joined.Membership.Slug != "acme" || joined.Resumed {
		t.Fatalf("joined %+v", joined)
	}
	c, err := bobsHome.Load()
	if err != nil || c.Mesh("acme") == nil || c.Mesh("acme").Cert == "" {
		t.Fatalf("config: %v", err)
	}
	if pending, _ := filepath.Glob(filepath.Join(bobsHome.Dir(), "*.pending")); len(pending) != 0 {
		t.Errorf("left behind: %v", pending)
	}
	_, err = join(bobsHome, link, "bob")
	if e := wantCode(t, "the same link again", err, protocol.CodeExists); !strings.Contains(e.Message, "acme") {
		t.Errorf("message %q", e.Message)
	}

	late, err := Join(context.Background(), JoinOptions{Home: cathysHome, Link: link, Name: "cathy", WaitVerified: 300 * time.Millisecond})
	if err == nil { // the issuer's daemon had no time to close the link: the key is invited at most
		if late.Trust == protocol.TrustVerified {
			t.Error("a link of one use let two in")
		}
	} else if code := protocol.CodeOf(err); code != protocol.CodeUsedUp && code != protocol.CodeClosedLink {
		t.Errorf("late: %v", err)
	} else {
		wantNothing(t, cathysHome)
	}
}

// Without the issuer's daemon the join ends as invited, says why, and becomes verified when that daemon comes.
func TestJoinInvited(t *testing.T) {
	b, alicesHome, bobsHome := newBroker(t), newHome(t), newHome(t)
	create(t, alicesHome, b, "acme", "alice")
	alice := startDaemon(t, alicesHome)
	alice.wantState("acme", protocol.ConnOpen)
	link := alice.link("acme", 1).Link
	alice.end()
	joined, err := Join(context.Background(), JoinOptions{Home: bobsHome, Link: link, Name: "bob", WaitVerified: -1})
	if err != nil {
		t.Fatal(err)
	}
	if joined.Trust != protocol.TrustInvited || !strings.Contains(joined.Reason, "alice") {
		t.Fatalf("joined %+v", joined)
	}
	bob := startDaemon(t, bobsHome)
	bob.wantState("acme", protocol.ConnOpen)
	startDaemon(t, alicesHome)
	until(t, "bob is verified", func() bool {
		list, err := bob.Meshes(context.Background())
		return err == nil && len(list) == 1 && list[0].Trust == protocol.TrustVerified
	})
}

// A second mesh of the same name gets another label.
func TestJoinSlugClash(t *testing.T) {
	b, alicesHome, bobsHome := newBroker(t), newHome(t), newHome(t)
	create(t, bobsHome, b, "acme", "bob")
	create(t, alicesHome, b, "acme", "alice")
	alice := startDaemon(t, alicesHome)
	alice.wantState("acme", protocol.ConnOpen)
	joined, err := join(bobsHome, alice.link("acme", 1).Link, "bob")
	if err != nil || joined.Membership.Slug != "acme-2" {
		t.Fatalf("joined %+v, %v", joined, err)
	}
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
		home := newHome(t)
		_, err := join(home, test.link, "bob")
		wantCode(t, name, err, test.want)
		wantNothing(t, home)
	}
	home := newHome(t)
	_, err := join(home, good, "Bob!")
	wantCode(t, "a bad name", err, protocol.CodeInvalid)
	wantNothing(t, home)
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
			home := newHome(t)
			_, err := join(home, test.forger.link(t, b.url, test.edit), "bob")
			wantCode(t, "join", err, test.want)
			wantNothing(t, home)
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
		home := newHome(t)
		_, err := join(home, f.link(t, b.url, nil), "bob")
		if e := wantCode(t, "join", err, code); !strings.Contains(e.Message, "because") {
			t.Errorf("%s: message %q", code, e.Message)
		}
		wantNothing(t, home)
	}
}

// A crash, or a broker that breaks off, between the request and config.json does not lose the key: the next join comes
// with the same one, even when the link has expired since.
func TestJoinIsTakenUp(t *testing.T) {
	f := forge(t)
	b := newFakeBroker(t, func(protocol.JoinRequest) (int, any) { return 502, map[string]string{"proxy": "broken"} })
	home := newHome(t)
	expires := time.Now().Add(time.Hour)
	link := f.link(t, b.url, func(i *protocol.Invite) { i.Expires = expires.Unix() })
	_, err := join(home, link, "bob")
	wantCode(t, "join", err, protocol.CodeUnavailable)
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
	home := newHome(t)
	var b *fakeBroker
	b = newFakeBroker(t, func(req protocol.JoinRequest) (int, any) {
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
	joined, err := join(newHome(t), link, "bob")
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
	home, link := newHome(t), f.link(t, b.url, nil)
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
	wantCode(t, "the second", z, protocol.CodeExists)
}
