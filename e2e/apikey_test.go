//go:build e2e

package e2e

import (
	"encoding/base64"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// madeKey is what `apikey create --json` prints.
type madeKey struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
	Prefix string `json:"prefix"`
}

// buildExample compiles a program of examples/.
func buildExample(t *testing.T, name string) string {
	t.Helper()
	out := filepath.Join(tempDir(t), name)
	if b, err := exec.Command("go", "build", "-o", out, "../examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, b)
	}
	return out
}

func runProgram(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A program with nothing but an API key writes to a member and is answered. What passes by the broker, and what lies on its disk, has
// no trace of the seed with which it seals, nor of what was said; of the bearer the disk has none either.
func TestAPIKeyProgram(t *testing.T) {
	b := newBroker(t)
	wire := newTap(t, b.addr)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, wire.url(), alice, bob)
	program := buildExample(t, "apikey")

	var key madeKey
	alice.json(&key, "apikey", "create", "ci", "--cap", "read,send", "--expires", "1d")
	file := filepath.Join(tempDir(t), "ci.key")
	if err := os.WriteFile(file, []byte(key.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(environ(tempDir(t)), "CLAUDEMESH_BROKER_URL="+wire.url(), "CLAUDEMESH_API_KEY_FILE="+file)

	const red, answer = "main is red since a1b2c3d", "looking at it, revert in ten minutes"
	if out, err := runProgram(t, env, program, "send", "bob", red); err != nil || !strings.HasPrefix(out, "queued ") {
		t.Fatalf("send: %v\n%s", err, out)
	}
	var rows []struct {
		ID   string `json:"id"`
		Body string `json:"body"`
		From struct{ Name, Session, Pubkey, Trust string }
	}
	eventually(t, "bob hears of it", func() bool { bob.json(&rows, "inbox"); return len(rows) == 1 })
	if f := rows[0].From; rows[0].Body != red || f.Name != "alice" || f.Session != "ci" || f.Pubkey != key.ID || f.Trust != "verified" {
		t.Errorf("bob has %+v", rows[0])
	}
	bob.must("reply", rows[0].ID, answer)
	bob.must("send", "alice/ci", "and thanks")
	read := ""
	eventually(t, "the program is answered", func() bool {
		out, err := runProgram(t, env, program, "read")
		if err != nil {
			t.Fatalf("read: %v\n%s", err, out)
		}
		read += out
		return strings.Contains(read, answer) && strings.Contains(read, "and thanks")
	})
	if !strings.Contains(read, "bob (verified): "+answer) || strings.Count(read, answer) != 1 {
		t.Errorf("read printed %q", read)
	}
	if out, err := runProgram(t, env, program, "send", "zoe", "hi"); err == nil || !strings.Contains(out, "no member is called zoe") {
		t.Errorf("to nobody: %v %s", err, out)
	}

	// A key for one topic writes under it and under no other.
	var scoped madeKey
	alice.json(&scoped, "apikey", "create", "deploys", "--cap", "send", "--topic", "deploys")
	scopedEnv := append(environ(tempDir(t)), "CLAUDEMESH_BROKER_URL="+wire.url(), "CLAUDEMESH_API_KEY="+scoped.Secret)
	for _, args := range [][]string{{"send", "bob", "v7 is out"}, {"send", "-topic", "deploys", "bob", "v7 is back"}} {
		if out, err := runProgram(t, scopedEnv, program, args...); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if out, err := runProgram(t, scopedEnv, program, "send", "-topic", "salaries", "bob", "psst"); err == nil || !strings.Contains(out, "deploys only") {
		t.Errorf("another topic: %v %s", err, out)
	}
	eventually(t, "bob hears of both", func() bool {
		var rows []struct{ Body, Topic string }
		bob.json(&rows, "inbox")
		n := 0
		for _, r := range rows {
			if strings.HasPrefix(r.Body, "v7") && r.Topic == "deploys" {
				n++
			}
		}
		return n == 2
	})

	bearer, seed, _ := strings.Cut(key.Secret, ".")
	places := map[string]string{"wire": wire.seen.String(), "broker's output": b.log.String()}
	filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			content, _ := os.ReadFile(path)
			places[path] = string(content)
		}
		return nil
	})
	if !strings.Contains(places["wire"], bearer) || !strings.Contains(places["wire"], "apikey_create") {
		t.Fatal("the tap does not see what a broker sees")
	}
	for place, content := range places {
		for what, secret := range map[string][]byte{"seed": decoded(t, seed), "message": []byte(red), "answer": []byte(answer)} {
			for encoding, form := range encodings(secret) {
				if strings.Contains(content, form) {
					t.Errorf("%s holds the %s (%s)", place, what, encoding)
				}
			}
		}
		if place != "wire" && strings.Contains(content, bearer) {
			t.Errorf("%s holds the bearer", place)
		}
	}

	// The whole secret, sent by mistake, ends the key.
	req, err := http.NewRequest("GET", "http://"+b.addr+"/api/v1/key", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key.Secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Fatalf("whole secret: %v %v", res, err)
	}
	res.Body.Close()
	if out, err := runProgram(t, env, program, "send", "bob", "again"); err == nil || !strings.Contains(out, "error.api_key_invalid") {
		t.Errorf("after that: %v %s", err, out)
	}
	if out := alice.must("apikey", "list"); !strings.Contains(out, "revoked both halves of its secret were sent") {
		t.Errorf("apikey list:\n%s", out)
	}
}

// The script of examples/curl says something through the daemon.
func TestCurlExample(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	alice.must("daemon", "rest", "on", "--listen", addr)
	env := append(alice.env, "CLAUDEMESH_REST_URL=http://"+addr+"/api/v1")
	const text = "main is \"red\":\n\tC:\\build\\log, see 100% of it"
	if out, err := runProgram(t, env, "../examples/curl/notify.sh", "bob", text); err != nil || strings.TrimSpace(out) != "delivered" {
		t.Fatalf("notify.sh: %v\n%s", err, out)
	}
	var rows []inboxRow
	bob.json(&rows, "inbox")
	if len(rows) != 1 || rows[0].Body != text {
		t.Errorf("bob has %+v", rows)
	}
	if out, err := runProgram(t, env, "../examples/curl/notify.sh", "zoe", "hi"); err == nil || !strings.Contains(out, "not_found") {
		t.Errorf("to nobody: %v %s", err, out)
	}
	if out, err := runProgram(t, env, "../examples/curl/notify.sh", "bob"); err == nil || !strings.Contains(out, "usage") {
		t.Errorf("too few: %v %s", err, out)
	}
}

func decoded(t *testing.T, half string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(half)
	if err != nil || len(b) != 32 {
		t.Fatalf("half of a secret: %v", err)
	}
	return b
}
