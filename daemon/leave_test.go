package daemon

import (
	"context"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// Bob leaves: others see it, his home forgets the mesh.
func TestLeave(t *testing.T) {
	b, alicesHome, bobsHome := newBroker(t), newHome(t), newHome(t)
	create(t, alicesHome, b, "acme", "alice")
	alice := startDaemon(t, alicesHome)
	alice.wantState("acme", protocol.ConnOpen)
	joined, err := join(bobsHome, alice.link("acme", 1).Link, "bob")
	if err != nil {
		t.Fatal(err)
	}
	bob := startDaemon(t, bobsHome)
	bob.wantState("acme", protocol.ConnOpen)
	reply, err := bob.Leave(context.Background(), "acme", false)
	if err != nil || !reply.OK || !reply.Published || reply.Mesh != "acme" || reply.OwnerKey != "" {
		t.Fatalf("leave: %+v, %v", reply, err)
	}
	if bob.state("acme") != "" {
		t.Error("the mesh still runs")
	}
	if c, err := bobsHome.Load(); err != nil || len(c.Meshes) != 0 {
		t.Errorf("config: %v", err)
	}
	key := joined.Membership.Key.Public()
	until(t, "alice knows that bob left", func() bool {
		m, err := alice.Mesh("acme")
		if err != nil {
			return false
		}
		_, revoked := m.Trust().View().Revoked(key)
		return revoked
	})
}

// An owner who leaves keeps the owner key, and is told where it is.
func TestLeaveKeepsTheOwnerKey(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	made := create(t, home, b, "acme", "alice")
	alice := startDaemon(t, home)
	alice.wantState("acme", protocol.ConnOpen)
	reply, err := alice.Leave(context.Background(), "acme", false)
	if err != nil || reply.OwnerKey != made.OwnerKeyFile || !exists(made.OwnerKeyFile) {
		t.Errorf("leave: %+v, %v", reply, err)
	}
}

// An admin leaves: the daemon that has the owner's file removes his key for good. When the owner leaves, his own does, at once.
func TestAdminAndOwnerLeave(t *testing.T) {
	b, alicesHome, bobsHome, cathysHome := newBroker(t), newHome(t), newHome(t), newHome(t)
	made := create(t, alicesHome, b, "acme", "alice")
	alice := startDaemon(t, alicesHome)
	alice.wantState("acme", protocol.ConnOpen)
	link := alice.link("acme", 2).Link
	joined, err := join(bobsHome, link, "bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := join(cathysHome, link, "cathy"); err != nil {
		t.Fatal(err)
	}
	bob, cathy := startDaemon(t, bobsHome), startDaemon(t, cathysHome)
	bob.wantState("acme", protocol.ConnOpen)
	cathy.wantState("acme", protocol.ConnOpen)
	owner, err := config.ReadOwnerKey(made.OwnerKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	bobsKey, alicesKey := joined.Membership.Key.Public(), made.Membership.Key.Public()
	cert, err := protocol.Sign(&protocol.Cert{
		Mesh: owner.MeshID, Issuer: owner.Public, Member: bobsKey, Name: "bob", Role: protocol.RoleAdmin, Issued: time.Now().Unix(),
	}, owner.Key)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := alice.Publish(ctx, "acme", cert.Text()); err != nil {
		t.Fatal(err)
	}
	removed := func(key crypto.PublicKey) func() bool {
		return func() bool {
			m, err := cathy.Mesh("acme")
			if err != nil {
				return false
			}
			r, gone := m.Trust().View().Revoked(key)
			return gone && !r.Own && r.By == owner.Public
		}
	}
	until(t, "bob knows that he is an admin", func() bool {
		m, err := bob.Mesh("acme")
		return err == nil && m.Trust().View().IsAdmin(bobsKey)
	})
	if _, err := bob.Leave(ctx, "acme", false); err != nil {
		t.Fatal(err)
	}
	until(t, "the owner's daemon removed bob's key", removed(bobsKey))
	if reply, err := alice.Leave(ctx, "acme", false); err != nil || !reply.Published {
		t.Fatalf("leave: %+v, %v", reply, err)
	}
	until(t, "alice's key is removed by the owner key", removed(alicesKey))
}

// While nobody can hear of it, leaving has to be forced: the key would be lost and never revoked.
func TestLeaveWithoutTheBroker(t *testing.T) {
	home := newHome(t)
	update(t, home, func(c *config.Config) { c.Add(membership(t, "acme")) })
	d := startDaemon(t, home)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := d.Leave(ctx, "acme", false)
	wantCode(t, "leave", err, protocol.CodeUnavailable)
	if d.state("acme") == "" {
		t.Error("it left all the same")
	}
	reply, err := d.Leave(ctx, "acme", true)
	if err != nil || reply.Published || reply.Reason == "" || d.state("acme") != "" {
		t.Errorf("forced: %+v, %v", reply, err)
	}
}
