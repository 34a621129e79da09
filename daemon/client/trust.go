package client

import (
	"context"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// Statements returns all that the daemon holds of a mesh.
func (c *Client) Statements(ctx context.Context, mesh string) (all protocol.StatementsReply, err error) {
	err = c.get(ctx, "/v1/statements", values("mesh", mesh), &all)
	return all, err
}

// Verify marks, or unmarks, that safety numbers were compared with a member.
func (c *Client) Verify(ctx context.Context, req protocol.VerifyRequest) error {
	return c.post(ctx, "/v1/members/verify", req, new(protocol.OKReply))
}

// Devices lists the keys of this member, of one mesh or, with an empty slug, of all.
func (c *Client) Devices(ctx context.Context, mesh string) (all []protocol.DeviceInfo, err error) {
	err = c.get(ctx, "/v1/devices", values("mesh", mesh), &all)
	return all, err
}

// RevokeDevice takes a session key of this member back, for ever.
func (c *Client) RevokeDevice(ctx context.Context, req protocol.RevokeDeviceRequest) error {
	return c.post(ctx, "/v1/devices/revoke", req, new(protocol.OKReply))
}

// Backup returns the sealed archive of the home.
func (c *Client) Backup(ctx context.Context, s *config.Sealing) ([]byte, error) {
	var reply protocol.BackupReply
	err := c.post(ctx, "/v1/backup", protocol.BackupRequest{Head: s.Head, Key: s.Key[:]}, &reply)
	return reply.Sealed, err
}

// AcceptHost says that the keys of this home are at home here: a copy that is connected elsewhere gives way.
func (c *Client) AcceptHost(ctx context.Context) error {
	return c.post(ctx, "/v1/accept-host", nil, new(protocol.OKReply))
}
