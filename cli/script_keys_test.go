//go:build !windows

package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// cmdTwins registers two API keys of a person whose ids begin alike, which chance does not do: it speaks to the broker itself, with
// the person's own key, while no daemon of his runs. It sets TWIN1 and TWIN2.
func cmdTwins(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: twins person")
	}
	home, err := config.OpenHome(ts.MkAbs(args[0]))
	ts.Check(err)
	c, err := home.Load()
	ts.Check(err)
	m := c.Meshes[0]
	ws, _, err := websocket.DefaultDialer.Dial(m.BrokerURL, nil)
	ts.Check(err)
	defer ws.Close()
	wire := &scriptWire{ts: ts, ws: ws}
	wire.hello(m)
	one, two := twinSecrets()
	for i, s := range []*protocol.APISecret{one, two} {
		st, err := protocol.Sign(&protocol.APIKey{Mesh: m.MeshID, Member: m.Key.Public(), Key: s.Key.Public(), Label: "twin", Caps: []string{"send"},
			Issued: time.Now().UnixMilli()}, m.Key, s.Key)
		ts.Check(err)
		wire.ask(protocol.APIKeyCreate{Tag: protocol.Tag{Type: protocol.TypeAPIKeyCreate, ReqID: "k"}, Statement: st.Text(),
			Hash: s.Bearer.Hash(), Prefix: s.Bearer.Prefix()}, protocol.TypeAPIKeyCreated, nil)
		ts.Setenv([]string{"TWIN1", "TWIN2"}[i], s.Key.Public().String())
	}
	ts.Setenv("HEAD", one.Key.Public().String()[:protocol.MinKeyPrefix])
}

// twinSecrets are two whose keys begin with the same 6 digits.
func twinSecrets() (a, b *protocol.APISecret) {
	seen := make(map[string]*protocol.APISecret)
	for {
		s := protocol.NewAPISecret()
		head := s.Key.Public().String()[:protocol.MinKeyPrefix]
		if other := seen[head]; other != nil {
			return other, s
		}
		seen[head] = s
	}
}

// scriptWire is a connection to the broker of a story.
type scriptWire struct {
	ts *testscript.TestScript
	ws *websocket.Conn
}

// ask writes a frame and reads until the answer of that type comes.
func (w *scriptWire) ask(frame any, want string, into any) {
	w.ts.Check(w.ws.WriteJSON(frame))
	for {
		_, b, err := w.ws.ReadMessage()
		w.ts.Check(err)
		var tag protocol.Tag
		w.ts.Check(json.Unmarshal(b, &tag))
		if tag.Type == protocol.TypeError {
			w.ts.Fatalf("the broker refused: %s", b)
		}
		if tag.Type != want {
			continue
		}
		if into != nil {
			w.ts.Check(json.Unmarshal(b, into))
		}
		return
	}
}

func (w *scriptWire) hello(m config.Membership) {
	var ch protocol.Challenge
	w.ask(protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge}, MeshID: string(m.MeshID)}, protocol.TypeChallenge, &ch)
	nonce, err := hex.DecodeString(ch.Nonce)
	w.ts.Check(err)
	now := time.Now()
	auth, err := protocol.Sign(&protocol.HelloAuth{Mesh: m.MeshID, Member: m.Key.Public(), Host: protocol.BrokerHost(m.BrokerURL),
		Nonce: [32]byte(nonce), At: now.UnixMilli(), Instance: [8]byte(crypto.RandomBytes(8))}, m.Key)
	w.ts.Check(err)
	session, err := protocol.Sign(&protocol.Session{Mesh: m.MeshID, Member: m.Key.Public(), Session: m.Key.Public(), Label: m.Name,
		Issued: now.UnixMilli(), Expires: now.Add(protocol.SessionLifetime).UnixMilli()}, m.Key, m.Key)
	w.ts.Check(err)
	w.ask(protocol.Hello{Tag: protocol.Tag{Type: protocol.TypeHello}, MeshID: string(m.MeshID), Auth: auth.Text(), Session: session.Text(),
		ProtocolVersion: protocol.Version, Capabilities: protocol.Capabilities()}, protocol.TypeHelloAck, nil)
}

// cmdKeySend writes to a person with an API key, as a program would that heeds nothing: keysend FILE TOPIC person text, "" for no
// topic. It wants an HTTP status, and is not what decides: the broker and the person do.
func cmdKeySend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: keysend status file topic person text")
	}
	secret, err := protocol.ParseAPISecret(ts.ReadFile(args[1]))
	ts.Check(err)
	home, err := config.OpenHome(ts.MkAbs(args[3]))
	ts.Check(err)
	c, err := home.Load()
	ts.Check(err)
	m := c.Meshes[0]
	base := protocol.HTTPBase(m.BrokerURL) + "/api/v1"
	ask := func(method, path string, body []byte) (int, []byte) {
		req, err := http.NewRequest(method, base+path, bytes.NewReader(body))
		ts.Check(err)
		req.Header.Set("Authorization", "Bearer "+secret.Bearer.Text())
		res, err := http.DefaultClient.Do(req)
		ts.Check(err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		ts.Check(err)
		return res.StatusCode, b
	}
	var key protocol.RESTKey
	_, b := ask(http.MethodGet, "/key", nil)
	ts.Check(json.Unmarshal(b, &key))
	st, err := protocol.ParseText(key.Statement)
	ts.Check(err)
	to := m.Key.Public()
	shared, err := secret.Key.Shared(to)
	ts.Check(err)
	h := &protocol.Header{
		ID: protocol.NewClientID(), Mesh: m.MeshID, From: secret.Key.Public(), Member: st.Body.(*protocol.APIKey).Member, To: to.String(),
		Prio: protocol.PriorityNext, TS: time.Now().UnixMilli(), Ep: hex.EncodeToString(crypto.RandomBytes(8)), Seq: 1, Att: st.Text(), Topic: args[2],
	}
	nonce, ciphertext, err := protocol.SealDirect(h, []byte(args[4]), secret.Key, &shared)
	ts.Check(err)
	body, err := json.Marshal(protocol.Send{
		Tag: protocol.Tag{Type: protocol.TypeSend}, ID: h.ID, TargetSpec: h.To, Priority: h.Prio,
		Nonce: base64.StdEncoding.EncodeToString(nonce), Ciphertext: base64.StdEncoding.EncodeToString(ciphertext),
	})
	ts.Check(err)
	if status, answer := ask(http.MethodPost, "/messages", body); strconv.Itoa(status) != args[0] {
		ts.Fatalf("keysend: %d %s, want %s", status, answer, args[0])
	}
}
