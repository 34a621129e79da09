package daemon

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/api"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/protocol"
)

// raw sends a request as a program that is not our client does.
func (d *testDaemon) raw(method, path, body string, header ...string) (int, string) {
	d.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return localsocket.Dial(ctx, d.home.SocketFile())
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		b := make([]byte, 64<<10)
		n, _ := res.Body.Read(b)
		return res.StatusCode, string(b[:n])
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestRefusals(t *testing.T) {
	d := startDaemon(t, newHome(t))
	for name, test := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		code               protocol.Code
	}{
		"a page's origin":      {"GET", "/v1/health", "", []string{"Origin", "https://evil.example"}, 403, protocol.CodeForbidden},
		"another host":         {"GET", "/v1/health", "", []string{"Host", "evil.example"}, 403, protocol.CodeForbidden},
		"no such route":        {"GET", "/v1/secrets", "", nil, 404, protocol.CodeNotFound},
		"no JSON":              {"POST", "/v1/send", "hello", nil, 400, protocol.CodeInvalid},
		"an unknown field":     {"POST", "/v1/send", `{"to":"bob","boddy":"x"}`, nil, 400, protocol.CodeInvalid},
		"two values":           {"POST", "/v1/send", `{} {}`, nil, 400, protocol.CodeInvalid},
		"too long":             {"POST", "/v1/send", `{"body":"` + strings.Repeat("x", api.MaxRequest) + `"}`, nil, 413, protocol.CodePayloadTooLarge},
		"no mesh joined":       {"POST", "/v1/send", `{"to":"bob"}`, nil, 404, protocol.CodeNotFound},
		"no such mesh":         {"GET", "/v1/peers?mesh=x", "", nil, 404, protocol.CodeNotFound},
		"no such session":      {"GET", "/v1/whoami?session=x", "", nil, 404, protocol.CodeNotFound},
		"no such message":      {"GET", "/v1/messages/abcdefgh", "", nil, 404, protocol.CodeNotFound},
		"no such outbox row":   {"POST", "/v1/outbox/requeue", `{"id":"abcdefgh"}`, nil, 404, protocol.CodeNotFound},
		"no such link":         {"DELETE", "/v1/invites/abcdefgh", "", nil, 404, protocol.CodeNotFound},
		"inbox of no mesh":     {"GET", "/v1/inbox?mesh=x", "", nil, 404, protocol.CodeNotFound},
		"a limit in words":     {"GET", "/v1/inbox?limit=all", "", nil, 400, protocol.CodeInvalid},
		"read neither":         {"POST", "/v1/inbox/read", `{}`, nil, 400, protocol.CodeInvalid},
		"read both":            {"POST", "/v1/inbox/read", `{"all":true,"ids":["x"]}`, nil, 400, protocol.CodeInvalid},
		"flush without a time": {"POST", "/v1/inbox/flush", `{}`, nil, 400, protocol.CodeInvalid},
		"leave what":           {"POST", "/v1/leave", `{"mesh":"x"}`, nil, 404, protocol.CodeNotFound},
		"ban whom":             {"POST", "/v1/members/ban", `{"mesh":"x"}`, nil, 404, protocol.CodeNotFound},
		"a bad cursor":         {"GET", "/v1/events", "", []string{"Last-Event-ID", "x"}, 400, protocol.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := d.raw(test.method, test.path, test.body, test.header...)
			var reply protocol.ErrorReply
			if err := json.Unmarshal([]byte(body), &reply); err != nil {
				t.Fatalf("%d %s", status, body)
			}
			if status != test.status || reply.OK || reply.Error.Code != test.code || reply.Error.Message == "" {
				t.Errorf("%d %s, want %d %s", status, body, test.status, test.code)
			}
		})
	}
}

// No route ever shows a secret of the home, whoever asks it what.
func TestNoSecretsInAnswers(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	made := create(t, home, b, "acme", "alice")
	d := startDaemon(t, home)
	d.wantState("acme", protocol.ConnOpen)
	if status, body := d.raw("POST", "/v1/sessions", fmt.Sprintf(`{"id":"s-1","pid":%d,"cwd":"/tmp"}`, os.Getpid())); status != 200 {
		t.Fatal(status, body)
	}
	link, err := protocol.ParseLink(d.link("acme", 2).Link)
	if err != nil {
		t.Fatal(err)
	}
	session, err := keyring.SessionKey(d.DB, "s-1")
	if err != nil {
		t.Fatal(err)
	}
	owner, err := home.OwnerKey(made.Membership.MeshID)
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string][]string{ // with which the routes do what they are for
		"/v1/send":         {`{"to":"*","body":"hi","session":"s-1"}`, `{"to":"alice","body":"hi"}`},
		"/v1/inbox/read":   {`{"all":true}`},
		"/v1/inbox/delete": {`{"all":true}`},
		"/v1/presence":     {`{"session":"s-1","summary":"x"}`},
		"/v1/invites":      {fmt.Sprintf(`{"mesh":"acme","uses":1,"expires":%d}`, time.Now().Add(time.Hour).Unix())},
		"/v1/sessions":     {fmt.Sprintf(`{"id":"s-1","pid":%d,"cwd":"/tmp"}`, os.Getpid())},
		"/v1/mail/take":    {`{"session":"s-1","rung":"pull"}`},
		"/v1/mail/held":    {`{"session":"s-1"}`},
	}
	var answers bytes.Buffer
	for pattern := range d.api.Table() {
		method, path, _ := strings.Cut(pattern, " ")
		if path == "/v1/shutdown" || path == "/v1/leave" || path == "/v1/accept-host" { // they end things, the last one this home's connection
			continue
		}
		path = strings.ReplaceAll(path, "{id}", "s-1")
		for _, query := range []string{"", "?session=s-1", "?mesh=acme&all=true"} {
			for _, in := range append(bodies[path], "{}") {
				_, body := d.raw(method, path+query, in)
				answers.WriteString(body)
			}
		}
	}
	for _, last := range []string{"/v1/leave", "/v1/accept-host"} {
		_, body := d.raw("POST", last, `{"mesh":"acme"}`)
		answers.WriteString(body)
	}
	all := answers.String()
	if !strings.Contains(all, made.Membership.Key.Public().String()) || !strings.Contains(all, `"published":true`) {
		t.Fatalf("the answers do not hold what they should:\n%s", all)
	}
	for name, key := range map[string]*crypto.PrivateKey{
		"member": made.Membership.Key, "owner": owner.Key, "recovery": made.Recovery, "session": session, "link": link.Key,
	} {
		seed := key.Seed()
		for _, secret := range []string{hex.EncodeToString(seed[:]), base64.StdEncoding.EncodeToString(seed[:])[:42], string(seed[:])} {
			if strings.Contains(all, secret) {
				t.Errorf("the %s key is in an answer", name)
			}
		}
	}
}
