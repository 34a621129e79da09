package client

import (
	"context"

	"github.com/claudemesh/claudemesh/protocol"
)

// APIKeys lists the API keys that this member may revoke, of one mesh or, with an empty slug, of all.
func (c *Client) APIKeys(ctx context.Context, mesh string) (all []protocol.APIKeyInfo, err error) {
	err = c.get(ctx, "/v1/apikeys", values("mesh", mesh), &all)
	return all, err
}

// CreateAPIKey makes an API key. The secret is in this answer only.
func (c *Client) CreateAPIKey(ctx context.Context, req protocol.APIKeyRequest) (made protocol.APIKeyMade, err error) {
	err = c.post(ctx, "/v1/apikeys", req, &made)
	return made, err
}

// RevokeAPIKey revokes the one key that is named, for ever.
func (c *Client) RevokeAPIKey(ctx context.Context, req protocol.RevokeAPIKeyRequest) (done protocol.RevokeAPIKeyReply, err error) {
	err = c.post(ctx, "/v1/apikeys/revoke", req, &done)
	return done, err
}

// OpNonce returns what an op statement that the caller signs must name.
func (c *Client) OpNonce(ctx context.Context, mesh string) (n protocol.OpNonce, err error) {
	err = c.get(ctx, "/v1/op", values("mesh", mesh), &n)
	return n, err
}

// Op has the broker do an administrative act.
func (c *Client) Op(ctx context.Context, req protocol.OpRequest) (done protocol.OpReply, err error) {
	err = c.post(ctx, "/v1/op", req, &done)
	return done, err
}

// Grants lists the peers about whom something was said, of one mesh or, with an empty slug, of all.
func (c *Client) Grants(ctx context.Context, mesh string) (all []protocol.GrantInfo, err error) {
	err = c.get(ctx, "/v1/grants", values("mesh", mesh), &all)
	return all, err
}

// Grant changes what a peer may, and returns what he may then.
func (c *Client) Grant(ctx context.Context, req protocol.GrantRequest) (info protocol.GrantInfo, err error) {
	err = c.post(ctx, "/v1/grants", req, &info)
	return info, err
}
