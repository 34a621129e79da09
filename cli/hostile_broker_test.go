//go:build !windows

package cli

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// liar is a broker that says what the test wants. It has the keys of everybody but alice, whose daemon is connected to it:
// what it says may come from a member, from a stranger with a link, from who was removed, and from the broker itself.
type liar struct {
	*testing.T
	srv     *httptest.Server
	mesh    protocol.MeshID
	log     []string // statements
	members []map[string]any

	alice, bob, dora, rob, zed *crypto.PrivateKey // verified: alice and bob; invited: dora; removed: rob; unknown: zed

	mu     sync.Mutex
	ws     *websocket.Conn // alice's control connection
	opened int
	seq    uint64
}

func newLiar(t *testing.T) (*liar, config.Membership) {
	l := &liar{T: t, alice: crypto.GenerateKey(), bob: crypto.GenerateKey(), dora: crypto.GenerateKey(), rob: crypto.GenerateKey(), zed: crypto.GenerateKey()}
	l.srv = httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(l.srv.Close)
	url := strings.Replace(l.srv.URL, "http://", "ws://", 1) + "/ws"
	owner, link := crypto.GenerateKey(), crypto.GenerateKey()
	now := time.Now()
	charter := l.sign(&protocol.Charter{Owner: owner.Public(), Created: now.Unix(), Slug: "acme"}, owner)
	l.mesh = charter.Mesh()
	cert := func(key *crypto.PrivateKey, name string) *protocol.Statement {
		return l.sign(&protocol.Cert{Mesh: l.mesh, Issuer: owner.Public(), Member: key.Public(), Name: name, Role: protocol.RoleMember, Issued: now.Unix()}, owner)
	}
	own := cert(l.alice, "alice")
	for _, s := range []*protocol.Statement{charter, own, cert(l.bob, "bob"), cert(l.rob, "rob"), l.sign(&protocol.Revoke{
		Mesh: l.mesh, Issuer: owner.Public(), Kind: protocol.RevokeKey, Target: l.rob.Public(), At: now.Unix(),
	}, owner)} {
		l.log = append(l.log, s.Text())
	}
	invite := l.sign(&protocol.Invite{
		Mesh: l.mesh, Issuer: owner.Public(), Link: link.Public(), Role: protocol.RoleMember, Uses: 9, Expires: now.Add(time.Hour).Unix(), URL: url, Owner: owner.Public(),
	}, owner)
	enrol := l.sign(&protocol.Enrol{Mesh: l.mesh, Link: link.Public(), Member: l.dora.Public(), Name: "dora", At: now.Unix()}, link, l.dora)
	l.members = []map[string]any{{"pubkey": l.dora.Public().String(), "invite": invite.Text(), "enrol": enrol.Text(), "online": true}}
	return l, config.Membership{
		Slug: "acme", MeshID: l.mesh, Name: "alice", Key: l.alice, BrokerURL: url, JoinedAt: now, Charter: charter.Text(), Cert: own.Text(),
	}
}

func (l *liar) sign(b protocol.Body, keys ...*crypto.PrivateKey) *protocol.Statement {
	l.Helper()
	s, err := protocol.Sign(b, keys...)
	if err != nil {
		l.Fatal(err)
	}
	return s
}

// serve answers what a daemon asks as an honest broker does; what else alice hears is say's.
func (l *liar) serve(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			return
		}
		var tag protocol.Tag
		if json.Unmarshal(b, &tag) != nil {
			continue
		}
		answer := map[string]any{"_reqId": tag.ReqID, "type": protocol.TypeOK}
		switch tag.Type {
		case protocol.TypeHelloChallenge:
			answer["type"], answer["nonce"], answer["capabilities"] = protocol.TypeChallenge, hex.EncodeToString(crypto.RandomBytes(32)), protocol.Capabilities()
			answer["time"] = time.Now().UnixMilli()
		case protocol.TypeHello:
			answer["type"] = protocol.TypeHelloAck
			l.mu.Lock()
			l.ws = ws
			l.opened++
			l.mu.Unlock()
		case protocol.TypeSessionHello:
			answer["type"] = protocol.TypeHelloAck
		case protocol.TypeLog:
			answer["type"], answer["statements"], answer["cursor"] = protocol.TypeLog, l.log, len(l.log)
		case protocol.TypeListMembers:
			answer["type"], answer["members"] = protocol.TypeMembersList, l.members
		case protocol.TypeListPeers:
			answer["type"], answer["peers"] = protocol.TypePeersList, []any{}
		case protocol.TypeAPIKeyList:
			answer["type"], answer["keys"] = protocol.TypeAPIKeys, []any{}
		case protocol.TypePublish:
			answer["type"], answer["accepted"] = protocol.TypePublished, []string{}
		}
		if tag.ReqID == "" {
			continue
		}
		out, err := json.Marshal(answer)
		if err != nil {
			return
		}
		l.mu.Lock()
		err = ws.WriteMessage(websocket.TextMessage, out)
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// say writes a frame to alice.
func (l *liar) say(f any) {
	l.Helper()
	b, err := json.Marshal(f)
	if err != nil {
		l.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ws.WriteMessage(websocket.TextMessage, b); err != nil {
		l.Fatalf("alice hung up: %v", err)
	}
}

// sealed boxes any header and any body to alice, as nobody's own code would.
func (l *liar) sealed(from *crypto.PrivateKey, header map[string]any, body []byte) (nonce, ciphertext string) {
	l.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		l.Fatal(err)
	}
	sig := from.Sign(protocol.EncodeBlock("msg", h, body))
	plain := binary.BigEndian.AppendUint32(append([]byte("\x00cm2"), sig[:]...), uint32(len(h)))
	plain = append(append(plain, h...), body...)
	shared, err := from.Shared(l.alice.Public())
	if err != nil {
		l.Fatal(err)
	}
	n := crypto.NewNonce()
	return base64.StdEncoding.EncodeToString(n[:]), base64.StdEncoding.EncodeToString(crypto.Seal(nil, plain, &n, &shared))
}

// header is that of an honest message.
func (l *liar) header(from *crypto.PrivateKey) map[string]any {
	l.seq++
	return map[string]any{
		"id": protocol.NewClientID(), "mesh": string(l.mesh), "from": from.Public().String(), "member": from.Public().String(),
		"to": l.alice.Public().String(), "prio": protocol.PriorityNext, "ts": time.Now().UnixMilli(), "ep": "0011223344556677", "seq": l.seq,
		"log": strings.Repeat("0", 64),
	}
}

// push makes the frame of a message.
func (l *liar) push(from *crypto.PrivateKey, header map[string]any, body string) map[string]any {
	nonce, ciphertext := l.sealed(from, header, []byte(body))
	return map[string]any{
		"type": protocol.TypePush, "messageId": "m" + protocol.NewClientID(), "meshId": string(l.mesh), "senderPubkey": from.Public().String(),
		"priority": header["prio"], "nonce": nonce, "ciphertext": ciphertext, "createdAt": "2026-01-01T00:00:00.000Z",
	}
}

// runDaemonOf runs alice's daemon until the test ends, and returns a client of it.
func (l *liar) runDaemonOf(home config.Home) *client.Client {
	l.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Config{Home: home, Version: "test", Build: buildID(), Ready: func() { close(ready) }})
	}()
	l.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			l.Errorf("the daemon ended with: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		l.Fatalf("the daemon ended at once: %v", err)
	}
	cl := client.Dial(home)
	l.Cleanup(cl.Close)
	return cl
}
