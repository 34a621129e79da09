package daemon

import (
	"context"
	"testing"
	"time"

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
		m, err := alice.mesh("acme")
		if err != nil {
			return false
		}
		_, revoked := m.trust.current().Revoked(key)
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
