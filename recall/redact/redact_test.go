package redact

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// secrets are built here, so that no scanner takes this file for a leak.
func alnum(r *rand.Rand, n int) string {
	const set = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = set[r.IntN(len(set))]
	}
	return string(b)
}

func TestSecretsGo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	hex := func(n int) string {
		s := ""
		for len(s) < n {
			s += fmt.Sprintf("%016x", r.Uint64())
		}
		return s[:n]
	}
	upper := strings.Map(func(c rune) rune {
		if c == '0' || c == '1' || c == '8' || c == '9' {
			return 'Q'
		}
		return c
	}, strings.ToUpper(alnum(r, 16)))
	for name, secret := range map[string]string{
		"AWS": "AKIA" + upper, "GitHub": "ghp_" + alnum(r, 36), "Anthropic": "sk-ant-api03-" + alnum(r, 90),
		"Stripe": "sk_live_" + alnum(r, 24), "Stripe webhook": "whsec_" + alnum(r, 32), "Slack": "xoxb-1234567890-" + alnum(r, 24),
		"JWT":  "eyJ" + alnum(r, 20) + ".eyJ" + alnum(r, 30) + "." + alnum(r, 43),
		"npm":  "npm_" + alnum(r, 36),
		"link": "ic://join/" + alnum(r, 120), "hex key": hex(64), "random": alnum(r, 48) + "1aB",
	} {
		for _, around := range []string{"%s", "export X=%s", "curl -H 'Authorization: Bearer %s' https://h", `{"v":"%s"}`, "it was %s, then"} {
			text := fmt.Sprintf(around, secret)
			if got, n := New(nil).Text(text); strings.Contains(got, secret) || n == 0 {
				t.Errorf("%s survives in %q: %q", name, around, got)
			}
		}
	}
	for _, c := range []struct{ text, gone string }{
		{"postgres://alice:hunter2hunter2@db/x", "hunter2hunter2"},
		{"DB_PASSWORD=tr0ub4dor&3", "tr0ub4dor&3"},
		{`password: "correct-horse-9"`, "correct-horse-9"},
		{"ADAFRUIT_KEY = 'a1b2c3d4e5f60718'", "a1b2c3d4e5f60718"},
		{"-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nxyz\n-----END RSA PRIVATE KEY-----", "MIIabc"},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb", "b3Blb"},
		{"Cookie: session=abcdef; csrf=1", "abcdef"},
		{"mysql -u root --password=s3cr3tpw x", "s3cr3tpw"},
		{"machine h login bob password pa55word", "pa55word"},
		{"client_secret\": \"Q2hhbmdlIG1lIG5vdyE\"", "Q2hhbmdl"},
	} {
		if got, n := New(nil).Text(c.text); strings.Contains(got, c.gone) || n == 0 {
			t.Errorf("%q becomes %q", c.text, got)
		}
	}
}

func TestTextStays(t *testing.T) {
	for _, text := range []string{
		"token := lexer.next()", "key: string", "the API key was wrong", "commit 3f786850e387550fdab836ed7e6dc881de23001b",
		"the password is checked in auth.go", "uuid 550e8400-e29b-41d4-a716-446655440000", "https://example.com/a/b?c=d",
		"src/components/authentication/password_reset/handler.go", "func (s *Server) ListenAndServeTLSWithContext(ctx context.Context)",
		"export API_KEY=$SECRET_FROM_VAULT", "password: ${DB_PASSWORD}", "api_key=<your key>", "primary_key: true",
		"sha256 digest mismatch in go.sum", "keyboard: qwertz", "pkg/mod/github.com/gorilla/websocket@v1.5.3/conn.go:1034",
		"TestSessionsSurviveTheDaemonThatRestartsInTheMiddleOfATurn", "monkey: banana", "secret_key_base is missing",
	} {
		if got, n := New(nil).Text(text); got != text || n != 0 {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestKnownValues(t *testing.T) {
	key := []byte("a key of this memory")
	environ := []string{"MY_TOKEN=plainwords-but-9-secret", "HOME=/home/alice", "DEPLOY_PASSWORD=ein ganz langer satz 1", "X_KEY=short"}
	known := NewKnown(key)
	if fresh := known.Add(FromEnvironment(key, environ)...); len(fresh) != 2 {
		t.Fatalf("%d fingerprints", len(fresh))
	}
	if again := known.Add(FromEnvironment(key, environ)...); len(again) != 0 {
		t.Fatal("a fingerprint is new twice")
	}
	r := New(known)
	for _, text := range []string{"use plainwords-but-9-secret here", "x=plainwords-but-9-secret,", "(plainwords-but-9-secret)", `"plainwords-but-9-secret"`} {
		if got, _ := r.Text(text); strings.Contains(got, "plainwords") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestRedactingTwiceChangesNothing(t *testing.T) {
	r := New(nil)
	once, _ := r.Text("DB_PASSWORD=tr0ub4dor&3 and Bearer abcdef0123456789abcdef")
	if twice, n := r.Text(once); twice != once || n != 0 {
		t.Errorf("%q becomes %q", once, twice)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"password=\xff12345678", "ſecret_key=ABCDEFGH12", "İtoken=123456789a", "://a:b@", "-----BEGIN PRIVATE KEY-----"} {
		f.Add(s)
	}
	r := New(NewKnown([]byte("k")))
	f.Fuzz(func(t *testing.T, s string) { r.Text(s) })
}

func BenchmarkText(b *testing.B) {
	text := strings.Repeat("The handler in payments-api/hook.go returned 400 because the signature was computed over the parsed body.\n", 40)
	r := New(nil)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Text(text)
	}
}
