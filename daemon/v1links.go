package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// V1Links asks a broker about the v1 links of a mesh, by which original clients join. Only the owner key may, and no daemon
// holds that key: the command line calls these.
type V1Links struct {
	Mesh      protocol.MeshID
	Slug      string
	BrokerURL string
	Owner     *crypto.PrivateKey

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil means net.Dialer
	Now  func() time.Time                                                  // nil means time.Now
}

// Make makes a link for uses members, good until expires (Unix s), and returns it as it is given to people. Errors are
// *protocol.Error: legacy_off where the mesh's policy lets no original clients in.
func (v V1Links) Make(ctx context.Context, uses int, expires int64) (link string, info protocol.V1LinkInfo, err error) {
	token, err := protocol.MakeLegacyInvite(v.Mesh, v.Slug, v.BrokerURL, expires, v.Owner)
	if err != nil {
		return "", info, err
	}
	if _, err = v.ask(ctx, protocol.OpV1Make, protocol.V1LinkOp{Token: token, Uses: uses}); err != nil {
		return "", info, err
	}
	return protocol.LegacyLink(token), protocol.V1LinkInfo{ID: protocol.V1LinkID(token), Uses: uses, Expires: expires}, nil
}

// List returns the links that the broker knows, those that end last first.
func (v V1Links) List(ctx context.Context) ([]protocol.V1LinkInfo, error) {
	return v.ask(ctx, protocol.OpV1List, protocol.V1LinkOp{})
}

// Close takes a link back, named by its id or the first 6 or more digits of it. Who came by it stays.
func (v V1Links) Close(ctx context.Context, id string) error {
	_, err := v.ask(ctx, protocol.OpV1Close, protocol.V1LinkOp{ID: id})
	return err
}

func (v V1Links) ask(ctx context.Context, verb string, op protocol.V1LinkOp) ([]protocol.V1LinkInfo, error) {
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	op.At = now().UnixMilli()
	b, err := json.Marshal(op)
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	st, err := protocol.Sign(&protocol.Op{Mesh: v.Mesh, By: v.Owner.Public(), Nonce: [32]byte(crypto.RandomBytes(32)), Verb: verb, JSON: b}, v.Owner)
	if err != nil {
		return nil, fmt.Errorf("sign a request: %w", err)
	}
	reply, err := post(ctx, v.Dial, v.BrokerURL, "/api/v1/v1links", "", protocol.V1LinkRequest{Statement: st.Text()})
	if err != nil {
		return nil, err
	}
	return reply.Links, nil
}
