package daemon

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/enrol"
	"github.com/claudemesh/claudemesh/protocol"
)

func join(home config.Home, link, name string) (*enrol.Joined, error) {
	return enrol.Join(context.Background(), enrol.JoinOptions{Home: home, Link: link, Name: name, WaitVerified: 10 * time.Second})
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

	late, err := enrol.Join(context.Background(), enrol.JoinOptions{Home: cathysHome, Link: link, Name: "cathy", WaitVerified: 300 * time.Millisecond})
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
	joined, err := enrol.Join(context.Background(), enrol.JoinOptions{Home: bobsHome, Link: link, Name: "bob", WaitVerified: -1})
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

func TestCreate(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	made := create(t, home, b, "acme", "alice")
	c, err := home.Load()
	if err != nil {
		t.Fatal(err)
	}
	m := c.Mesh("acme")
	if m == nil || m.Name != "alice" || m.BrokerURL != "ws://"+b.addr+"/ws" || m.Cert == "" {
		t.Fatalf("membership %+v", m)
	}
	owner, err := home.OwnerKey(m.MeshID)
	if err != nil || owner.Path != made.OwnerKeyFile {
		t.Fatalf("owner key: %v", err)
	}
	charter, err := protocol.ParseText(m.Charter)
	if err != nil || charter.Mesh() != m.MeshID {
		t.Fatalf("charter: %v", err)
	}
	body := charter.Body.(*protocol.Charter)
	seed, err := crypto.ParsePrivateKey(made.RecoverySeed())
	if err != nil || seed.Public() != body.Recovery || body.Owner != owner.Key.Public() {
		t.Errorf("the charter names another owner or recovery key: %v", err)
	}
	alice := startDaemon(t, home)
	alice.wantState("acme", protocol.ConnOpen)
	list, err := alice.Meshes(context.Background())
	if err != nil || len(list) != 1 || list[0].Trust != protocol.TrustVerified || !list[0].Default {
		t.Errorf("meshes: %+v, %v", list, err)
	}
	_, err = enrol.Create(context.Background(), enrol.CreateOptions{Home: home, Slug: "acme", BrokerURL: b.addr, AdminToken: b.AdminToken()})
	wantCode(t, "a second mesh of that name", err, protocol.CodeExists)
}

func TestCreateWithoutRecovery(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	made, err := enrol.Create(context.Background(), enrol.CreateOptions{
		Home: home, Slug: "acme", BrokerURL: "http://" + b.addr, Name: "alice", AdminToken: b.AdminToken(), NoRecovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if made.RecoverySeed() != "" {
		t.Error("there is a recovery seed")
	}
	startDaemon(t, home).wantState("acme", protocol.ConnOpen)
}

func TestCreateRefused(t *testing.T) {
	t.Setenv(enrol.EnvAdminToken, "")
	b := newBroker(t)
	gone := "127.0.0.1:1"
	for name, test := range map[string]struct {
		options enrol.CreateOptions
		want    protocol.Code
	}{
		"no token":        {enrol.CreateOptions{Slug: "acme", BrokerURL: b.addr}, protocol.CodeUnauthorized},
		"a wrong token":   {enrol.CreateOptions{Slug: "acme", BrokerURL: b.addr, AdminToken: "wrong"}, protocol.CodeUnauthorized},
		"no token file":   {enrol.CreateOptions{Slug: "acme", BrokerURL: b.addr, TokenFile: "/nonexistent"}, protocol.CodeUnauthorized},
		"ws to elsewhere": {enrol.CreateOptions{Slug: "acme", BrokerURL: "ws://b.example", AdminToken: "x"}, protocol.CodeForbidden},
		"a bad address":   {enrol.CreateOptions{Slug: "acme", BrokerURL: "ftp://b.example", AdminToken: "x"}, protocol.CodeInvalid},
		"a bad slug":      {enrol.CreateOptions{Slug: "Acme!", BrokerURL: b.addr, AdminToken: "x"}, protocol.CodeInvalid},
		"a bad name":      {enrol.CreateOptions{Slug: "acme", BrokerURL: b.addr, AdminToken: "x", Name: "Al Ice"}, protocol.CodeInvalid},
		"nobody there":    {enrol.CreateOptions{Slug: "acme", BrokerURL: gone, AdminToken: "x"}, protocol.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.Home = newHome(t)
			_, err := enrol.Create(context.Background(), test.options)
			if e := wantCode(t, "create", err, test.want); e.Hint == "" && test.want != protocol.CodeInvalid {
				t.Errorf("no hint: %v", e)
			}
			wantNothing(t, test.options.Home)
		})
	}
}
