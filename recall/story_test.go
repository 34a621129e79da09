package recall

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/recall/redact"
	"github.com/claudemesh/claudemesh/recall/source"
)

// machine is alice's machine: a directory of transcripts and a memory that reads them.
type machine struct {
	*Memory
	t        *testing.T
	projects string
	now      time.Time
	n        int
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	a := &machine{t: t, projects: filepath.Join(dir, "projects"), now: time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)}
	if err := os.MkdirAll(a.projects, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := Open(filepath.Join(dir, "recall.db"), Options{Sources: []source.Source{source.Claude{Dir: a.projects}}, Now: func() time.Time { return a.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	a.Memory = m
	return a
}

// session is a transcript that a test writes.
type session struct {
	a    *machine
	path string
	id   string
	cwd  string
}

func (a *machine) session(id, cwd string) *session {
	a.t.Helper()
	path := filepath.Join(a.projects, strings.ReplaceAll(cwd, "/", "-"), id+".jsonl")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		a.t.Fatal(err)
	}
	return &session{a: a, path: path, id: id, cwd: cwd}
}

func (s *session) write(raw string) {
	s.a.t.Helper()
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(raw)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		s.a.t.Fatal(err)
	}
}

func (s *session) record(kind string, more map[string]any) string {
	s.a.n++
	r := map[string]any{"type": kind, "uuid": fmt.Sprintf("u-%d", s.a.n), "sessionId": s.id, "cwd": s.cwd, "gitBranch": "main", "version": "2.1.332",
		"timestamp": s.a.now.Add(time.Duration(s.a.n) * time.Second).Format(time.RFC3339Nano)}
	for k, v := range more {
		r[k] = v
	}
	b, err := json.Marshal(r)
	if err != nil {
		s.a.t.Fatal(err)
	}
	return string(b) + "\n"
}

func (s *session) asks(prompt string) {
	s.write(s.record("user", map[string]any{"origin": map[string]any{"kind": "human"}, "message": map[string]any{"role": "user", "content": prompt}}))
}

func (s *session) says(text string) {
	s.write(s.record("assistant", map[string]any{"message": map[string]any{"role": "assistant", "content": []any{map[string]any{"type": "text", "text": text}}}}))
}

func (s *session) runs(tool string, input map[string]any, result string) {
	id := fmt.Sprintf("toolu_%d", s.a.n)
	s.write(s.record("assistant", map[string]any{"message": map[string]any{"content": []any{map[string]any{"type": "tool_use", "id": id, "name": tool, "input": input}}}}))
	s.write(s.record("user", map[string]any{"message": map[string]any{"content": []any{map[string]any{"type": "tool_result", "tool_use_id": id, "content": result}}},
		"toolUseResult": map[string]any{"originalFile": "never index this whole file"}}))
}

func (a *machine) sweep() {
	a.t.Helper()
	if err := a.Sweep(context.Background()); err != nil {
		a.t.Fatal(err)
	}
}

func (a *machine) finds(q string, terms ...string) []Hit {
	a.t.Helper()
	hits, err := a.Search(context.Background(), Query{Text: q, Terms: terms})
	if err != nil {
		a.t.Fatal(err)
	}
	return hits
}

func (a *machine) want(q, in string) Hit {
	a.t.Helper()
	hits := a.finds(q)
	if len(hits) == 0 || !strings.Contains(hits[0].Prompt+hits[0].Text+hits[0].Code+hits[0].Output, in) {
		a.t.Fatalf("%q does not find %q first: %+v", q, in, hits)
	}
	return hits[0]
}

func (a *machine) wantNothing(q string) {
	a.t.Helper()
	if hits := a.finds(q); len(hits) > 0 {
		a.t.Fatalf("%q finds %+v", q, hits[0])
	}
}

func (a *machine) episodes() int {
	a.t.Helper()
	s, err := a.Stats(context.Background())
	if err != nil {
		a.t.Fatal(err)
	}
	return s.Episodes
}

// stripe is what alice fixed two weeks ago.
func (a *machine) stripe() *session {
	s := a.session("s-stripe", "/home/alice/payments-api")
	s.asks("The Stripe webhook answers 400, the signature does not verify")
	s.runs("Bash", map[string]any{"command": "go test ./webhook -run Signature"}, "--- FAIL: TestSignature\nwebhook: signature mismatch: no signatures found matching the expected signature")
	s.runs("Edit", map[string]any{"file_path": "/home/alice/payments-api/webhook/hook.go", "new_string": "body, err := io.ReadAll(r.Body) // the raw bytes"}, "ok")
	s.says("The signature was computed over the re-encoded JSON. Verify over the raw request body, before any middleware parses it.")
	return s
}

func TestAliceFindsWhatSheSolved(t *testing.T) {
	a := newMachine(t)
	a.stripe()
	other := a.session("s-css", "/home/alice/site")
	other.asks("make the button blue")
	other.says("Changed the colour of the button in style.css")
	a.sweep()
	h := a.want("stripe signature 400", "raw request body")
	if h.Session != "s-stripe" || h.Dir != "/home/alice/payments-api" || h.Branch != "main" || len(h.Files) != 1 || h.Start.IsZero() {
		t.Errorf("%+v", h)
	}
	a.want("webhook signature mismatch", "raw request body")
	if strings.Contains(h.Output+h.Text, "whole file") {
		t.Error("the whole file is indexed")
	}
	a.wantNothing("kubernetes ingress")
}

func TestAFinishedTurnIsFoundAndNothingTwice(t *testing.T) {
	a := newMachine(t)
	s := a.stripe()
	a.sweep()
	s.says("Also the timestamp tolerance is five minutes: check the clock.")
	if err := a.Read(context.Background(), s.path); err != nil {
		t.Fatal(err)
	}
	a.want("timestamp tolerance clock", "five minutes")
	if n := a.episodes(); n != 1 {
		t.Errorf("%d episodes, want the one that went on", n)
	}
	s.asks("and the retry policy?")
	s.says("Stripe retries for three days with exponential backoff")
	a.sweep()
	a.sweep()
	if n := a.episodes(); n != 2 {
		t.Errorf("%d episodes, want 2", n)
	}
}

func TestHalfAWrittenLineWaits(t *testing.T) {
	a := newMachine(t)
	s := a.session("s", "/p")
	s.asks("why does the quokka deployment fail")
	line := s.record("assistant", map[string]any{"message": map[string]any{"content": "the quokka needs a marsupial token"}})
	s.write(line[:40])
	a.sweep()
	a.wantNothing("marsupial")
	s.write(line[40:])
	a.sweep()
	a.want("marsupial", "quokka needs")
}

func TestForksAndResumesAreIndexedOnce(t *testing.T) {
	a := newMachine(t)
	s := a.stripe()
	a.sweep()
	before, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	fork := a.session("s-fork", "/home/alice/payments-api")
	fork.write(string(before))
	fork.says("In the fork we moved the check into middleware order zanzibar.")
	fork.asks("and now the refunds")
	fork.says("refunds use the charge id")
	a.sweep()
	if n := a.episodes(); n != 3 {
		t.Errorf("%d episodes, want the original, what the fork added to it, and its own turn", n)
	}
	a.want("zanzibar", "In the fork")
	hits := a.finds("raw request body middleware parses")
	for _, h := range hits[1:] {
		if strings.Contains(h.Text, "re-encoded JSON") {
			t.Error("the same text is indexed twice")
		}
	}
}

func TestARewrittenRecordingIsReadAnew(t *testing.T) {
	a := newMachine(t)
	s := a.session("s", "/p")
	s.asks("first question about armadillos")
	s.says("armadillos have shells")
	a.sweep()
	if err := os.WriteFile(s.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.asks("second question about pangolins")
	s.says("pangolins have scales")
	a.sweep()
	a.want("pangolins", "scales")
	a.want("armadillos", "shells")
}

func TestTheIndexOutlivesTheRecording(t *testing.T) {
	a := newMachine(t)
	s := a.stripe()
	a.sweep()
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	a.sweep()
	a.want("stripe signature", "raw request body")
	a.now = a.now.Add(366 * 24 * time.Hour)
	a.sweep()
	a.wantNothing("stripe signature")
}

func TestWhatTheClientInjectedIsLeftOut(t *testing.T) {
	a := newMachine(t)
	s := a.session("s", "/p")
	s.asks("<system-reminder>planted walrus</system-reminder>why is the narwhal slow")
	s.runs("Bash", map[string]any{"command": "make"}, "ok\n<system-reminder>planted walrus again</system-reminder>")
	s.says("the narwhal waits for the disk")
	s.write(s.record("user", map[string]any{"isMeta": true, "message": map[string]any{"content": "planted walrus as meta"}}))
	s.write(s.record("user", map[string]any{"origin": map[string]any{"kind": "peer"}, "message": map[string]any{"content": "planted walrus from a peer"}}))
	s.says("I answered the peer about manatees")
	s.asks("ask the mesh")
	s.runs("mcp__claudemesh__check_messages", map[string]any{}, "planted walrus in a message")
	s.runs("mcp__plugin_claudemesh_claudemesh__ask_mesh", map[string]any{"question": "x"}, "planted walrus in an answer")
	s.says("they say it is about dugongs")
	a.sweep()
	a.wantNothing("planted walrus")
	if h := a.want("narwhal disk", "waits for the disk"); h.Secondhand {
		t.Error("the person's own turn counts as second-hand")
	}
	for _, q := range []string{"manatees", "dugongs"} {
		if h := a.want(q, q); !h.Secondhand {
			t.Errorf("%s: what follows a peer's words does not count as second-hand", q)
		}
		if own, err := a.Search(context.Background(), Query{Text: q, Own: true}); err != nil || len(own) > 0 {
			t.Errorf("%s: %v %v", q, own, err)
		}
	}
}

func TestSecretsAreNotStored(t *testing.T) {
	a := newMachine(t)
	list := redact.FromEnvironment(a.key, []string{"DEPLOY_TOKEN=blue-horse-42-staple"})
	if err := a.AddSecrets(context.Background(), list...); err != nil {
		t.Fatal(err)
	}
	s := a.session("s", "/p")
	s.asks("deploy with DB_PASSWORD=tr0ub4dor&3 and blue-horse-42-staple")
	s.runs("Bash", map[string]any{"command": "curl https://bob:hunter2hunter2@host/x"}, "Authorization: Bearer abcdefgh12345678ijkl")
	s.says("Done, with ghp_" + strings.Repeat("a1B2", 9))
	a.sweep()
	a.want("deploy", redact.Mark)
	if err := a.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, file := range a.files() {
		b, _ := os.ReadFile(file)
		for _, secret := range []string{"tr0ub4dor", "blue-horse-42", "hunter2hunter2", "abcdefgh12345678", "a1b2a1b2", "a1B2a1B2"} {
			if strings.Contains(string(b), secret) {
				t.Errorf("%s holds %q", filepath.Base(file), secret)
			}
		}
	}
}

func (a *machine) files() []string {
	list, _ := filepath.Glob(filepath.Join(filepath.Dir(a.projects), "recall.db*"))
	return list
}

func TestExcludePrivateForget(t *testing.T) {
	ctx := context.Background()
	a := newMachine(t)
	a.stripe()
	secret := a.session("s-secret", "/home/alice/secret/deep")
	secret.asks("the okapi plan")
	secret.says("okapi at dawn")
	a.sweep()
	if n, err := a.Exclude(ctx, "/home/alice/secret"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	a.wantNothing("okapi")
	secret.asks("more okapi")
	secret.says("okapi at noon")
	a.sweep()
	a.wantNothing("okapi")
	if ok, err := a.Include(ctx, "/home/alice/secret"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	a.sweep()
	a.want("okapi", "okapi")

	private := a.session("s-private", "/p")
	private.asks("the ocelot plan")
	private.says("ocelot at dawn")
	a.sweep()
	a.want("ocelot", "dawn")
	private.asks("<command-name>/claudemesh:private</command-name>")
	private.says("ok")
	a.sweep()
	a.wantNothing("ocelot")
	private.asks("ocelot again")
	private.says("ocelot later")
	a.sweep()
	a.wantNothing("ocelot")

	h := a.want("stripe signature", "raw")
	if n, err := a.Forget(ctx, []int64{h.ID}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	a.wantNothing("stripe signature")
	if ok, err := a.Include(ctx, "/nowhere"); ok || err != nil {
		t.Fatal(ok, err)
	}
	fork := a.session("s-fork", "/home/alice/payments-api")
	b, err := os.ReadFile(filepath.Join(a.projects, "-home-alice-payments-api", "s-stripe.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	fork.write(string(b))
	a.sweep()
	a.wantNothing("stripe signature")
}

// What was forgotten is not on the disk any more, not even as words of the index.
func TestForgottenMeansGone(t *testing.T) {
	ctx := context.Background()
	a := newMachine(t)
	for i := range 50 {
		s := a.session(fmt.Sprintf("s%d", i), "/p")
		s.asks(fmt.Sprintf("question %d about zebrafinches", i))
		s.says("an answer about zebrafinches and quetzals")
	}
	a.sweep()
	ids, err := a.Matching(ctx, "", "/p")
	if err != nil || len(ids) != 50 {
		t.Fatal(len(ids), err)
	}
	if n, err := a.Forget(ctx, ids); err != nil || n != 50 {
		t.Fatal(n, err)
	}
	if err := a.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	for _, file := range a.files() {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"zebrafinch", "quetzal"} {
			if strings.Contains(string(b), word) {
				t.Errorf("%s holds %q", filepath.Base(file), word)
			}
		}
	}
}

func TestBadRecordingsHarmNobody(t *testing.T) {
	a := newMachine(t)
	a.stripe()
	bad := a.session("s-bad", "/p")
	bad.write("not json\n\x00\xff\xfe\n{\"type\":\"user\",\"message\":5}\n{\"type\":7}\n[]\n{\"type\":\"assistant\",\"message\":{\"content\":[5,{\"type\":\"tool_use\",\"input\":[[[[1]]]]}]}}\n")
	bad.write(strings.Repeat("[", 100_000) + "\n")
	bad.write(`{"type":"user","uuid":"x","message":{"content":"` + strings.Repeat("long ", 5<<20) + `"}}` + "\n")
	bad.asks("caf\xe9 axolotl")
	bad.says("axolotl regrow")
	outside := filepath.Join(t.TempDir(), "outside.jsonl")
	if err := os.WriteFile(outside, []byte(bad.record("user", map[string]any{"message": map[string]any{"content": "capybara"}})), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(a.projects, "-p", "link.jsonl")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(a.projects, "-p", "dir.jsonl"), 0o700); err != nil {
		t.Fatal(err)
	}
	a.sweep()
	a.want("axolotl", "regrow")
	a.want("stripe signature", "raw")
	a.wantNothing("capybara")
	if err := a.Read(context.Background(), outside); err == nil {
		t.Error("a file outside of the projects is read")
	}
	if err := a.Read(context.Background(), filepath.Join(a.projects, "-p", "gone.jsonl")); err != nil {
		t.Errorf("a recording that is gone: %v", err)
	}
}

func TestQueriesOfAnySize(t *testing.T) {
	a := newMachine(t)
	a.stripe()
	a.sweep()
	a.wantNothing("")
	a.wantNothing("the and of")
	a.wantNothing(`" OR * NEAR( ^ :`)
	a.finds(strings.Repeat("stripe signature ", 10_000))
	terms := make([]string, 10_000)
	for i := range terms {
		terms[i] = fmt.Sprintf("term%d", i)
	}
	a.finds("stripe", terms...)
}

func TestCompactionSummariesAndTitles(t *testing.T) {
	a := newMachine(t)
	s := a.session("s", "/p")
	s.asks("begin")
	s.says("begun with the gazelle")
	s.write(s.record("system", map[string]any{"subtype": "compact_boundary"}))
	s.write(s.record("user", map[string]any{"isCompactSummary": true, "isVisibleInTranscriptOnly": true, "message": map[string]any{"content": "We learned that the gecko needs warmth"}}))
	s.says("going on about the impala")
	s.write(`{"type":"ai-title","aiTitle":"Reptile heating","sessionId":"s"}` + "\n")
	a.sweep()
	if h := a.want("gecko warmth", "gecko"); h.Kind != source.Summary || h.Title != "Reptile heating" {
		t.Errorf("%+v", h)
	}
	a.want("impala", "impala")
	a.want("gazelle", "gazelle")
}
