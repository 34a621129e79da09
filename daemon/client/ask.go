package client

import (
	"context"
	"strconv"

	"github.com/claudemesh/claudemesh/protocol"
)

// Ask asks the memories of a mesh, and returns what came within the time that the request names.
func (c *Client) Ask(ctx context.Context, req protocol.AskRequest) (got protocol.AskReply, err error) {
	err = c.post(ctx, "/v1/ask", req, &got)
	return got, err
}

// Asks lists questions of this user, newest first.
func (c *Client) Asks(ctx context.Context, limit int) (all []protocol.AskedInfo, err error) {
	err = c.get(ctx, "/v1/asks", values("limit", strconv.Itoa(limit)), &all)
	return all, err
}

// Asked returns one question of this user, with what came of it.
func (c *Client) Asked(ctx context.Context, id string) (a protocol.AskedInfo, err error) {
	err = c.get(ctx, "/v1/asks/"+id, nil, &a)
	return a, err
}

// RateAnswer says what the user thinks of an answer.
func (c *Client) RateAnswer(ctx context.Context, req protocol.AskRateRequest) error {
	return c.post(ctx, "/v1/asks/rate", req, new(protocol.OKReply))
}

// Knowledge lists what this user allowed to leave.
func (c *Client) Knowledge(ctx context.Context) (rules []protocol.KnowledgeRule, err error) {
	err = c.get(ctx, "/v1/knowledge", nil, &rules)
	return rules, err
}

// ShareKnowledge allows something to leave.
func (c *Client) ShareKnowledge(ctx context.Context, req protocol.KnowledgeShareRequest) (rule protocol.KnowledgeRule, err error) {
	err = c.post(ctx, "/v1/knowledge/share", req, &rule)
	return rule, err
}

// UnshareKnowledge takes that back.
func (c *Client) UnshareKnowledge(ctx context.Context, req protocol.KnowledgeUnshareRequest) (gone protocol.KnowledgeGone, err error) {
	err = c.post(ctx, "/v1/knowledge/unshare", req, &gone)
	return gone, err
}

// KnowledgeLog lists what this machine answered, newest first.
func (c *Client) KnowledgeLog(ctx context.Context, limit int) (all []protocol.KnowledgeEntry, err error) {
	err = c.get(ctx, "/v1/knowledge/log", values("limit", strconv.Itoa(limit)), &all)
	return all, err
}

// KnowledgeEntry returns one of these with the exact bytes that left.
func (c *Client) KnowledgeEntry(ctx context.Context, n uint64) (e protocol.KnowledgeEntry, err error) {
	err = c.get(ctx, "/v1/knowledge/log/"+strconv.FormatUint(n, 10), nil, &e)
	return e, err
}

// KnowledgeRequests lists the follow-ups that wait for this user.
func (c *Client) KnowledgeRequests(ctx context.Context) (open []protocol.KnowledgeAsk, err error) {
	err = c.get(ctx, "/v1/knowledge/requests", nil, &open)
	return open, err
}

// DecideKnowledge approves or denies one.
func (c *Client) DecideKnowledge(ctx context.Context, id string, req protocol.KnowledgeDecision) (done protocol.KnowledgeAsk, err error) {
	err = c.post(ctx, "/v1/knowledge/requests/"+id, req, &done)
	return done, err
}
