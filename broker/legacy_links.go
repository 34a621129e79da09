package broker

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// v1Link is what the broker keeps of a v1 link. The token is the key: whoever shows the same characters holds the link.
type v1Link struct {
	Mesh    protocol.MeshID `json:"mesh"`
	Uses    int             `json:"uses"`
	Used    int             `json:"used"`
	Expires int64           `json:"expires"` // Unix s
	Closed  bool            `json:"closed,omitempty"`
}

func v1Key(id string) []byte {
	key, _ := hex.DecodeString(id)
	return key
}

func readV1Link(tx *store.Tx, id string) (*v1Link, error) {
	b := tx.Peek(bucketV1Links, v1Key(id))
	if b == nil {
		return nil, nil
	}
	l := new(v1Link)
	return l, json.Unmarshal(b, l)
}

func putV1Link(tx *store.Tx, id string, l *v1Link) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return tx.Put(bucketV1Links, v1Key(id), b)
}

// handleV1Links registers, lists and closes v1 links. The request is an op statement by the owner, of now: whoever carries it
// could repeat it for a minute, which changes nothing.
func (s *Server) handleV1Links(r *http.Request) (int, any, error) {
	var req protocol.V1LinkRequest
	if err := readBody(r, &req); err != nil {
		return 0, nil, err
	}
	st, err := protocol.ParseText(req.Statement)
	if err != nil {
		return 0, nil, err
	}
	op, ok := st.Body.(*protocol.Op)
	if !ok {
		return 0, nil, protocol.Refuse(protocol.CodeBadStatement, "not an op statement")
	}
	m := s.mesh(op.Mesh)
	if m == nil {
		return 0, nil, protocol.Refuse(protocol.CodeNotFound, "this broker does not carry that mesh")
	}
	m.mu.Lock()
	view := m.view
	m.mu.Unlock()
	var args protocol.V1LinkOp
	switch {
	case op.By != view.Owner():
		return 0, nil, protocol.Refuse(protocol.CodeForbidden, "only the owner key makes v1 links")
	case !view.Legacy():
		return 0, nil, protocol.Refuse(protocol.CodeLegacyOff, "the policy of this mesh lets no original clients in").
			WithHint("claudemesh create --allow-legacy makes one that does")
	case json.Unmarshal(op.JSON, &args) != nil:
		return 0, nil, protocol.Refuse(protocol.CodeBadFrame, "the op is not of its shape")
	case s.now().Sub(time.UnixMilli(args.At)).Abs() > protocol.ClockSkew:
		return 0, nil, protocol.Refuse(protocol.CodeTimestamp, "your clock is off by more than a minute")
	}
	switch op.Verb {
	case protocol.OpV1Make:
		err = m.makeV1Link(args)
	case protocol.OpV1Close:
		err = m.closeV1Link(args.ID)
	case protocol.OpV1List:
	default:
		err = protocol.Refuse(protocol.CodeNotSupported, "this broker does not know how to %s", op.Verb)
	}
	if err != nil {
		return 0, nil, s.storeError("keep a v1 link", err)
	}
	links, err := m.v1Links()
	return http.StatusOK, protocol.V1LinkReply{OK: true, Links: links}, err
}

// makeV1Link takes a link that the owner made. The same link again changes nothing.
func (m *mesh) makeV1Link(args protocol.V1LinkOp) error {
	l, err := protocol.ParseLegacyToken(args.Token)
	now := m.srv.now()
	m.mu.Lock()
	owner := m.view.Owner().String()
	m.mu.Unlock()
	switch {
	case err != nil:
		return err
	case l.MeshID != string(m.id) || l.Owner != owner:
		return protocol.Refuse(protocol.CodeForeign, "the link is of another mesh or owner")
	case l.Role != protocol.RoleMember:
		return protocol.Refuse(protocol.CodeForbidden, "a v1 link is for the role member only")
	case args.Uses < 1 || args.Uses > 1000:
		return protocol.Refuse(protocol.CodeInvalid, "a link has 1 to 1000 uses")
	case l.Expires <= now.Unix() || l.Expires > now.Add(protocol.LinkMaxLifetime).Unix():
		return protocol.Refuse(protocol.CodeInvalid, "a link lives at most 30 days")
	}
	id := protocol.V1LinkID(args.Token)
	return m.srv.db.Commit(func(tx *store.Tx) error {
		old, err := readV1Link(tx, id)
		if old != nil || err != nil {
			return err
		}
		return putV1Link(tx, id, &v1Link{Mesh: m.id, Uses: args.Uses, Expires: l.Expires})
	})
}

// minV1Prefix is the shortest prefix by which a v1 link is closed.
const minV1Prefix = 6

func (m *mesh) closeV1Link(prefix string) error {
	return m.srv.db.Commit(func(tx *store.Tx) error {
		var found string
		for k, v := range tx.Scan(bucketV1Links, nil, nil) {
			id := hex.EncodeToString(k)
			l := new(v1Link)
			if len(prefix) < minV1Prefix || !strings.HasPrefix(id, prefix) || json.Unmarshal(v, l) != nil || l.Mesh != m.id {
				continue
			}
			if found != "" {
				return protocol.Refuse(protocol.CodeAmbiguous, "more than one v1 link begins with %s", prefix)
			}
			found = id
		}
		l, err := readV1Link(tx, found)
		if err != nil {
			return err
		}
		if found == "" || l == nil {
			return protocol.Refuse(protocol.CodeNotFound, "no v1 link %s", prefix)
		}
		l.Closed = true
		return putV1Link(tx, found, l)
	})
}

// v1Links lists the links of the mesh, those that end last first.
func (m *mesh) v1Links() ([]protocol.V1LinkInfo, error) {
	links := []protocol.V1LinkInfo{}
	err := m.srv.db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(bucketV1Links, nil, nil) {
			l := new(v1Link)
			if err := json.Unmarshal(v, l); err != nil {
				return err
			}
			if l.Mesh == m.id {
				links = append(links, protocol.V1LinkInfo{ID: hex.EncodeToString(k), Uses: l.Uses, Used: l.Used, Expires: l.Expires, Closed: l.Closed})
			}
		}
		return nil
	})
	slices.SortFunc(links, func(a, b protocol.V1LinkInfo) int { return int(b.Expires - a.Expires) })
	return links, err
}

// sweepV1Links forgets links that expired: an expired token is refused by what is signed in it, too.
func (s *Server) sweepV1Links() error {
	limit := s.now().Add(-protocol.LinkLifetime).Unix() // for a while the joiner still hears why
	any := false
	err := s.db.View(func(tx *store.Tx) error {
		for _, v := range tx.Scan(bucketV1Links, nil, nil) {
			l := new(v1Link)
			any = any || json.Unmarshal(v, l) == nil && l.Expires < limit
		}
		return nil
	})
	if err != nil || !any {
		return err
	}
	return s.db.Commit(func(tx *store.Tx) error {
		return dropV1Links(tx, func(l *v1Link) bool { return l.Expires < limit })
	})
}

func dropV1Links(tx *store.Tx, over func(*v1Link) bool) error {
	var keys [][]byte
	for k, v := range tx.Scan(bucketV1Links, nil, nil) {
		l := new(v1Link)
		if json.Unmarshal(v, l) == nil && over(l) {
			keys = append(keys, slices.Clone(k))
		}
	}
	for _, k := range keys {
		if err := tx.Delete(bucketV1Links, k); err != nil {
			return err
		}
	}
	return nil
}
