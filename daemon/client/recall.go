package client

import (
	"context"
	"strconv"

	"github.com/claudemesh/claudemesh/protocol"
)

// Recall searches this machine's memory.
func (c *Client) Recall(ctx context.Context, req protocol.RecallRequest) (found protocol.RecallReply, err error) {
	err = c.post(ctx, "/v1/recall", req, &found)
	return found, err
}

// Episode returns all that the memory holds of one episode.
func (c *Client) Episode(ctx context.Context, id int64) (e protocol.Episode, err error) {
	err = c.get(ctx, "/v1/recall/"+strconv.FormatInt(id, 10), nil, &e)
	return e, err
}

// RecallStatus says what the memory holds.
func (c *Client) RecallStatus(ctx context.Context) (s protocol.RecallStatus, err error) {
	err = c.get(ctx, "/v1/recall/status", nil, &s)
	return s, err
}

// RecallExclude keeps a directory out of the memory, or takes that back.
func (c *Client) RecallExclude(ctx context.Context, req protocol.RecallExcludeRequest) (gone protocol.RecallGone, err error) {
	err = c.post(ctx, "/v1/recall/exclude", req, &gone)
	return gone, err
}

// RecallForget removes episodes from the memory for good.
func (c *Client) RecallForget(ctx context.Context, req protocol.RecallForgetRequest) (gone protocol.RecallGone, err error) {
	err = c.post(ctx, "/v1/recall/forget", req, &gone)
	return gone, err
}

// RecallRelease makes what a session learned from others count as the user's own.
func (c *Client) RecallRelease(ctx context.Context, req protocol.RecallReleaseRequest) (done protocol.RecallReleased, err error) {
	err = c.post(ctx, "/v1/recall/release", req, &done)
	return done, err
}

// Remember stores a note in the memory.
func (c *Client) Remember(ctx context.Context, req protocol.RememberRequest) (done protocol.RememberReply, err error) {
	err = c.post(ctx, "/v1/recall/notes", req, &done)
	return done, err
}
