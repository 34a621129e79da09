package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// What alice's Claude did two weeks ago, and what bob's Claude runs into today.
const (
	solvedPrompt   = "Stripe webhooks answer 400, the signature does not verify"
	solvedFix      = "Verify the Stripe signature over the raw request body, before the JSON middleware re-encodes it."
	solvedSecret   = "STRIPE_WEBHOOK_SECRET=whsec_" + "kQ7vRz2LmX9pTn4bWc8y"
	memoryQuestion = "stripe webhook signature does not verify"
)

// transcripts is where somebody's Claude Code would record its sessions.
func transcripts(home string) string { return filepath.Join(home, "claude") }

// playMemory is why claudemesh exists: alice solved it, bob asks, alice's machine answers by itself.
func playMemory(ctx context.Context, s *stage) error {
	if err := writeTranscript(s.home("alice")); err != nil {
		return err
	}
	s.tell("two weeks ago alice's Claude fixed it; the transcript lies on her machine")
	if err := s.findOwn(ctx); err != nil {
		return err
	}
	ask := func() (got protocol.AskReply, err error) {
		err = s.run(ctx, &got, "bob", "ask", memoryQuestion, "--term", "400", "--wait", "8s", "--json")
		return got, err
	}
	if err := s.run(ctx, nil, "alice", "knowledge", "share", "--all", "--with", "bob", "--json"); err != nil {
		return err
	}
	s.tell("alice lets bob's questions be answered: claudemesh knowledge share --all --with bob")
	began := time.Now()
	got, err := ask()
	if err != nil {
		return err
	}
	if len(got.Answers) != 1 || got.Answers[0].From != "alice" || !strings.Contains(got.Answers[0].Text, solvedFix) {
		return fmt.Errorf("bob's question got %+v", got)
	}
	s.tell("bob asks        %q", memoryQuestion)
	s.tell("alice's machine answers in %s, no model runs, alice is not interrupted:", s.Span(time.Since(began)))
	s.tell("                %q", solvedFix)
	return s.whatLeft(ctx)
}

// findOwn has alice find her own session again: the memory needs no mesh.
func (s *stage) findOwn(ctx context.Context) error {
	var found protocol.RecallReply
	err := s.until(ctx, "alice's memory finds the session", func() (bool, error) {
		err := s.run(ctx, &found, "alice", "recall", memoryQuestion, "--json")
		return len(found.Hits) > 0, err
	})
	if err != nil {
		return err
	}
	if text := found.Hits[0].Excerpt + found.Hits[0].Prompt; !strings.Contains(text, solvedFix) || strings.Contains(text, "whsec_") {
		return fmt.Errorf("alice's memory says %q", text)
	}
	s.tell("alice recalls it in her own memory; the secret in the transcript was removed before it was stored")
	return nil
}

// whatLeft has alice look at the exact bytes that left her machine.
func (s *stage) whatLeft(ctx context.Context) error {
	var entries []protocol.KnowledgeEntry
	if err := s.run(ctx, &entries, "alice", "knowledge", "log", "--json"); err != nil {
		return err
	}
	if len(entries) != 2 || entries[0].What != "answer" || entries[1].What != "bid" {
		return fmt.Errorf("alice's log has %+v", entries)
	}
	var sent protocol.KnowledgeEntry
	if err := s.run(ctx, &sent, "alice", "knowledge", "log", "show", fmt.Sprint(entries[0].N), "--json"); err != nil {
		return err
	}
	if !strings.Contains(sent.Sent, solvedFix) || strings.Contains(sent.Sent, "whsec_") {
		return errors.New("the log does not show what left")
	}
	s.tell("alice's log shows the %d bytes that left, word by word", len(sent.Sent))
	return nil
}

// writeTranscript records a session as Claude Code does.
func writeTranscript(home string) error {
	dir := filepath.Join(transcripts(home), "projects", "-home-alice-payments-api")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	at := time.Now().Add(-14 * 24 * time.Hour)
	f, err := os.OpenFile(filepath.Join(dir, "d3m0.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	for i, r := range []map[string]any{
		{"type": "user", "origin": map[string]any{"kind": "human"}, "message": map[string]any{"role": "user", "content": solvedPrompt + "\n" + solvedSecret}},
		{"type": "assistant", "message": map[string]any{"content": []any{map[string]any{"type": "text", "text": solvedFix}}}},
		{"type": "ai-title", "aiTitle": "Webhook signature"},
	} {
		r["uuid"], r["sessionId"], r["cwd"], r["gitBranch"] = fmt.Sprintf("demo-%d", i), "d3m0", "/home/alice/payments-api", "main"
		r["timestamp"] = at.Add(time.Duration(i) * time.Minute).Format(time.RFC3339)
		if err == nil {
			err = enc.Encode(r)
		}
	}
	return errors.Join(err, f.Close())
}
