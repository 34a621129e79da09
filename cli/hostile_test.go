//go:build !windows

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/mcp"
	"github.com/claudemesh/claudemesh/protocol"
)

// Whatever a message, receipt, card, statement, name, presence or frame holds that package protocol takes, from whatever
// standing its sender has, everything that alice has still answers with what can be read: the daemon's routes, the stream of
// events, REST, the command line, the tools of an agent. What bob writes honestly in the midst of it is there in each.
func TestAnythingComesOutOfEverything(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { testAnything(t, seed) })
	}
}

func testAnything(t *testing.T, seed uint64) {
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("CLAUDEMESH_CONFIG_DIR", dir)
	home, err := config.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, membership := newLiar(t)
	if err := home.Update(func(c *config.Config) error { c.Add(membership); return nil }); err != nil {
		t.Fatal(err)
	}
	cl := l.runDaemonOf(home)
	o := &outlets{liar: l, cl: cl, home: home}
	o.until("alice is connected", func() bool {
		h, err := cl.Health(context.Background())
		return err == nil && h.Meshes["acme"].State == protocol.ConnOpen
	})
	seen := o.follow()
	g := &generator{liar: l, Rand: rand.New(rand.NewPCG(seed, seed))}
	var honest []string
	for round := range 12 {
		for range 10 {
			l.say(g.frame())
		}
		text := fmt.Sprintf("honest %d", round)
		honest = append(honest, text)
		l.say(l.push(l.bob, l.header(l.bob), text))
		for range 3 {
			l.say(g.frame())
		}
		o.until(text+" is in the inbox", func() bool { return slices.Contains(o.inbox(), text) })
	}
	o.wantRoutes(honest)
	o.wantVerbs(honest)
	o.wantTools(honest)
	o.until("the stream has all of them", func() bool { return !slices.ContainsFunc(honest, func(s string) bool { return !seen.has(s) }) })
	if seen.has(client.Unreadable) {
		t.Error("an event could not be read")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened != 1 {
		t.Errorf("alice connected %d times", l.opened)
	}
}

// generator makes frames that are right in their form and wild in what they hold.
type generator struct {
	*liar
	*rand.Rand
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

func (g *generator) sender() *crypto.PrivateKey { return pick(g, g.bob, g.bob, g.dora, g.rob, g.zed) }

func (g *generator) text() string {
	return pick(g, "", "a", "<b> & \"c\"", "</cross-session-message>", "\x1b[31m\x07", "a\r\nb\tc\x00d", "secret\rharmless", "‮⁦x", "\u2028\u2029", "👩‍👩‍👧", "می‌خواهم",
		"\ufeff", "\ufffd", strings.Repeat("x", 60<<10), strings.Repeat("<", 60<<10), strings.Repeat("\x01", 10<<10), strings.Repeat("é\n", 3000), "[claudemesh: x]")
}

func (g *generator) time() any {
	now, day := time.Now().UnixMilli(), int64(24*time.Hour/time.Millisecond)
	return pick[any](g, now, now+29*day, now-28*day, now-29*day-1, now+31*day, now-31*day, 1, protocol.MaxMillis, int64(protocol.MaxMillis)+1, int64(1<<53-1),
		json.Number("9223372036854775807"), -1)
}

func (g *generator) number() any {
	return pick[any](g, 0, 1, -1, 1<<31, 1<<53-1, json.Number("9223372036854775807"), json.Number("-9223372036854775808"), json.Number("18446744073709551616"),
		json.Number("1e400"), json.Number("0.5"), nil, "7")
}

func (g *generator) meta() json.RawMessage {
	return json.RawMessage(pick(g, `{}`, `{"a":1}`, `{"a":1e308,"b":-0,"c":1e-400}`, `{"a":1e400}`, `{"n":123456789012345678901234567890}`,
		`{"a":`+strings.Repeat("[", 30)+strings.Repeat("]", 30)+`}`, `{"\u0000":"\ud800"}`, `{"":null}`, `{"a":"`+strings.Repeat("<", 4000)+`"}`, `[]`))
}

// message is a push of any kind.
func (g *generator) message() any {
	from := g.sender()
	h := g.header(from)
	h["ts"], h["prio"] = g.time(), pick(g, "now", "next", "low")
	kind := pick(g, "", "", "", "question", "receipt", "log", "ping", "card", "weird", "recall")
	if kind != "" {
		h["kind"] = kind
	}
	switch kind {
	case "receipt", "ping":
		delete(h, "seq")
	case "log":
	default:
		if g.IntN(4) == 0 {
			h["seq"] = pick[any](g, 1, 1<<53-1, g.IntN(1<<30)+1)
		}
	}
	if g.IntN(3) == 0 {
		h["meta"] = g.meta()
	}
	if g.IntN(3) == 0 {
		h["reply_to"] = protocol.NewClientID()
	}
	if g.IntN(5) == 0 {
		h["topic"] = "deploys/eu"
	}
	body := g.text()
	switch kind {
	case "receipt":
		body = g.receipts()
	case "log":
		body = g.logs()
	case "card":
		body = g.card()
	}
	f := g.push(from, h, body)
	if g.IntN(6) == 0 {
		f["messageId"] = pick[any](g, "", g.text(), strings.Repeat("m", 40<<10), "a\x00b", nil)
	}
	return f
}

func (g *generator) receipts() string {
	var list []map[string]any
	for range 1 + g.IntN(4) {
		list = append(list, map[string]any{
			"id": protocol.NewClientID(), "state": pick(g, "delivered", "shown", "read", "refused", "archived"), "at": g.time(), "rung": "socket", "reason": "no",
		})
	}
	b, _ := json.Marshal(list)
	return string(b)
}

func (g *generator) logs() string {
	b, _ := json.Marshal([]string{g.statement(), g.statement(), "x"})
	return string(b)
}

func (g *generator) card() string {
	b, _ := json.Marshal(map[string]string{"summary": protocol.Cut(g.text(), 500), "cwd": protocol.Cut(g.text(), 100), "host": "h", "model": protocol.Cut(g.text(), 100)})
	return string(b)
}

// statement is one of a member or of somebody who only says so.
func (g *generator) statement() string {
	by := g.sender()
	at := pick[int64](g, 0, time.Now().UnixMilli(), protocol.MaxMillis)
	var s *protocol.Statement
	switch g.IntN(4) {
	case 0:
		key := crypto.GenerateKey()
		s = g.sign(&protocol.Session{Mesh: g.mesh, Member: by.Public(), Session: key.Public(), Label: "api", Groups: []string{"backend"}, Issued: at, Expires: protocol.MaxMillis}, by, key)
	case 1:
		s = g.sign(&protocol.Cert{Mesh: g.mesh, Issuer: by.Public(), Member: crypto.GenerateKey().Public(), Name: "eve", Role: protocol.RoleAdmin, Issued: at / 1000}, by)
	case 2:
		s = g.sign(&protocol.Revoke{Mesh: g.mesh, Issuer: by.Public(), Kind: protocol.RevokeKey, Target: crypto.GenerateKey().Public(), At: at / 1000, Reason: "<b>"}, by)
	default:
		key := crypto.GenerateKey()
		s = g.sign(&protocol.APIKey{Mesh: g.mesh, Member: by.Public(), Key: key.Public(), Label: "ci", Caps: []string{"send"}, Issued: at, Expires: protocol.MaxMillis}, by, key)
	}
	return s.Text()
}

// presence tells of sessions, with whatever words the broker likes.
func (g *generator) presence() any {
	by := pick(g, g.bob, g.dora)
	key := crypto.GenerateKey()
	now := time.Now().UnixMilli()
	s := g.sign(&protocol.Session{Mesh: g.mesh, Member: by.Public(), Session: key.Public(), Label: "api", Issued: now, Expires: protocol.MaxMillis}, by, key)
	return map[string]any{"type": protocol.TypePresence, "left": []any{g.text(), key.Public().String()}, "peers": []any{
		map[string]any{"pubkey": key.Public().String(), "memberPubkey": by.Public().String(), "displayName": g.text(), "status": g.text(), "sessionId": g.text(),
			"connectedAt": g.text(), "peerRole": pick(g, "session", "control-plane", g.text()), "peerType": g.text(), "channel": g.text(), "session": s.Text(),
			"card": map[string]any{"sender": g.text(), "nonce": g.text(), "ciphertext": g.text(), "key": g.text()}},
		nil, map[string]any{"pubkey": g.number()},
	}}
}

// frame is anything that a broker may say.
func (g *generator) frame() any {
	switch g.IntN(12) {
	case 0:
		return map[string]any{"type": protocol.TypeReceipt, "receiptId": pick[any](g, "r1", g.text(), g.number()), "clientMessageId": protocol.NewClientID(),
			"recipient": g.bob.Public().String(), "state": pick(g, "delivered", "expired", "refused", g.text()), "reason": g.text(), "at": g.number()}
	case 1:
		return map[string]any{"type": protocol.TypeLog, "statements": []string{g.statement(), g.statement()}, "cursor": g.number(), "more": false}
	case 2:
		return map[string]any{"type": protocol.TypeMembership, "members": []any{map[string]any{
			"pubkey": g.sender().Public().String(), "certs": []string{g.statement()}, "sessions": []string{g.statement()}, "apikeys": []string{g.statement()},
			"last_seen": g.number(), "online": false,
		}}}
	case 3:
		return g.presence()
	case 4:
		return map[string]any{"type": protocol.TypeError, "code": pick(g, "internal", g.text()), "message": g.text(), "retry_after_ms": g.number(), "id": pick(g, "", protocol.NewClientID())}
	case 5:
		return map[string]any{"type": protocol.TypeAck, "id": protocol.NewClientID(), "queued": false, "code": g.text(), "error": g.text(), "retry_after_ms": g.number()}
	case 6:
		return map[string]any{"type": pick[any](g, g.text(), g.number(), "ok"), "x": g.number()}
	}
	return g.message()
}

// outlets are all the ways in which alice's mesh reaches somebody.
type outlets struct {
	*liar
	cl   *client.Client
	home config.Home
}

// until polls a condition.
func (o *outlets) until(what string, ok func() bool) {
	o.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			o.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (o *outlets) inbox() (bodies []string) {
	o.Helper()
	all, err := o.cl.Inbox(context.Background(), protocol.InboxQuery{All: true, Limit: 10_000})
	if err != nil {
		o.Fatal(err)
	}
	for _, m := range all {
		bodies = append(bodies, m.Body)
	}
	return bodies
}

// words is a set that a stream fills.
type words struct {
	mu  sync.Mutex
	all map[string]bool
}

func (w *words) has(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all[s]
}

// follow collects the bodies and the types of events from now on.
func (o *outlets) follow() *words {
	ctx, cancel := context.WithCancel(context.Background())
	seen := &words{all: make(map[string]bool)}
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range o.cl.Follow(ctx, client.EventQuery{}) {
			if err != nil {
				return
			}
			seen.mu.Lock()
			if len(seen.all) == 0 {
				close(ready)
			}
			seen.all[e.Type] = true
			if e.Message != nil {
				seen.all[e.Message.Body] = true
			}
			seen.mu.Unlock()
		}
	}()
	o.Cleanup(func() { cancel(); <-done })
	<-ready
	return seen
}

// wantRoutes asks every route that lists something: the bytes must be JSON and UTF-8.
func (o *outlets) wantRoutes(honest []string) {
	o.Helper()
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", o.home.SocketFile())
	}}}
	defer hc.CloseIdleConnections()
	for _, path := range []string{
		"/v1/health", "/v1/meshes", "/v1/whoami", "/v1/peers", "/v1/members", "/v1/inbox?all=true&limit=10000", "/v1/outbox", "/v1/sent", "/v1/gaps", "/v1/devices",
		"/v1/apikeys", "/v1/grants", "/v1/sessions", "/v1/statements?mesh=acme", "/v1/invites",
		"/api/v1/peers", "/api/v1/members", "/api/v1/messages?all=true&limit=10000",
	} {
		res, err := hc.Get("http://claudemesh" + path)
		if err != nil {
			o.Errorf("%s: %v", path, err)
			continue
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !json.Valid(b) || !utf8.Valid(b) {
			o.Errorf("%s: %s, %v, %.300q", path, res.Status, err, b)
		}
		if strings.Contains(path, "all=true") {
			o.wantAll(path, string(b), honest)
		}
	}
}

func (o *outlets) wantAll(where, text string, honest []string) {
	o.Helper()
	for _, s := range honest {
		if !strings.Contains(text, s) {
			o.Errorf("%s does not have %q", where, s)
		}
	}
}

// wantVerbs runs the verbs that show what others sent. What a terminal gets holds nothing that acts on it.
func (o *outlets) wantVerbs(honest []string) {
	o.Helper()
	for _, args := range [][]string{
		{"inbox", "--all", "--limit", "10000"}, {"status"}, {"peers"}, {"members"}, {"whoami"}, {"daemon", "outbox", "list"}, {"device", "list"}, {"group", "list"},
	} {
		for _, asJSON := range []bool{false, true} {
			line := slices.Clone(args)
			if asJSON {
				line = append(line, "--json")
			}
			var out, errs bytes.Buffer
			if code := Main(line, strings.NewReader(""), &out, &errs); code != 0 {
				o.Errorf("%v: exit %d, %s", line, code, errs.String())
				continue
			}
			shown := strings.ReplaceAll(out.String(), "\r\n", "\n") // an end of line like the other
			acts := strings.IndexFunc(shown, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == '\u202e' })
			if asJSON && !json.Valid(out.Bytes()) || !utf8.Valid(out.Bytes()) || !asJSON && acts >= 0 {
				o.Errorf("%v: %.300q", line, shown[max(0, acts-100):])
			}
			if args[0] == "inbox" {
				o.wantAll(strings.Join(line, " "), out.String(), honest)
			}
		}
	}
}

// wantTools has an agent's session pull all mail and list the peers.
func (o *outlets) wantTools(honest []string) {
	o.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- mcp.Serve(ctx, mcp.Config{
			Mesh: meshOfMCP{Client: o.cl, home: o.home}, Version: "test", Session: protocol.SessionRequest{ID: "s-1", PID: os.Getpid(), Cwd: "/src/web"},
		}, inR, outW)
	}()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, nil).Connect(ctx, &sdk.IOTransport{Reader: outR, Writer: inW}, nil)
	if err != nil {
		o.Fatal(err)
	}
	call := func(tool string, args any) string {
		o.Helper()
		res, err := session.CallTool(ctx, &sdk.CallToolParams{Name: tool, Arguments: args})
		if err != nil {
			o.Fatalf("%s: %v", tool, err)
		}
		b, err := json.Marshal(res)
		if err != nil || res.IsError || !utf8.Valid(b) {
			o.Fatalf("%s: %v, %.300s", tool, err, b)
		}
		return string(b)
	}
	call("list_peers", map[string]any{})
	var all strings.Builder
	for {
		got := call("check_messages", map[string]any{"limit": 20})
		if !strings.Contains(got, "sent_at") {
			break
		}
		all.WriteString(got)
	}
	o.wantAll("check_messages", all.String(), honest)
	session.Close()
	cancel()
	<-served
}
