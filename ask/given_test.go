package ask

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// fetches has p fetch offers of a question from another person, as a changed client may.
func (p *person) fetches(from, ask string, f fetch) {
	p.w.t.Helper()
	f.V = wireVersion
	body, err := encode(f)
	if err != nil {
		p.w.t.Fatal(err)
	}
	if _, _, err := p.Send(context.Background(), "acme", from, KindFetch, ask, "", body); err != nil {
		p.w.t.Fatal(err)
	}
}

// answers waits for n answers in the log of p, newest first.
func (p *person) answers(n int) (out []Entry) {
	p.w.t.Helper()
	p.eventually("answers in the log", func() bool {
		list, err := p.Log(100)
		out = nil
		for _, e := range list {
			if e.What == "answer" {
				out = append(out, e)
			}
		}
		return err == nil && len(out) >= n
	})
	return out
}

// Mallory fetches the same offer again and again, and asks until alice's machine has told her enough for a day. The next day it
// answers again, and after 64 KiB it does not for a month.
func TestNobodyGetsAMemoryPieceByPiece(t *testing.T) {
	w := newWorld(t)
	alice, mallory := w.person("alice"), w.person("mallory")
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	var clock sync.Mutex
	alice.now = func() time.Time { clock.Lock(); defer clock.Unlock(); return now }
	mallory.now = alice.now
	mallory.limits.AsksPerDay = 1000
	alice.limits.PerMinute, alice.limits.PerDay, alice.limits.AllPerDay = 1000, 100_000, 100_000
	alice.remembers("/p", problem+strings.Repeat("\nsignature webhook stripe detail", 60))
	alice.shares(Excerpt, "")
	r := mallory.asks(stripe)
	size := len(r.Answers[0].Text)
	if size < 1000 || size > maxPassage {
		t.Fatalf("a passage of %d bytes", size)
	}
	mallory.fetches("alice", r.ID, fetch{Offers: []string{r.Offers[0].ID}})
	if again := alice.answers(2)[0]; again.Status != StatusGone || strings.Contains(string(again.Sent), "webhook") {
		t.Errorf("the second fetch of an offer: %+v", again)
	}
	given := func() (bytes int) {
		for range 10 {
			r := mallory.asks(stripe)
			for _, a := range r.Answers {
				bytes += len(a.Text)
			}
			if len(r.Answers) > 0 {
				continue
			}
			if len(r.Offers) != 1 || r.Offers[0].Status != StatusSpent {
				t.Fatalf("%+v", r)
			}
			break
		}
		return bytes
	}
	if first := given() + size; first > 8<<10 || first < 5000 {
		t.Errorf("%d bytes in a day", first)
	}
	all := 0
	for range 11 {
		clock.Lock()
		now = now.Add(24 * time.Hour)
		clock.Unlock()
		all += given()
	}
	if all > 64<<10 || all < 50_000 {
		t.Errorf("%d bytes in 11 days", all)
	}
}

// A passage is the same whatever was asked.
func TestAPassageDoesNotDependOnTheQuestion(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	var long strings.Builder
	for i := range 200 {
		long.WriteString("line " + strings.Repeat("x", i%7) + " about stripe webhook signature\n")
	}
	alice.remembers("/p", problem+"\n"+long.String()+"zanzibar quokka marsupial\n"+long.String())
	alice.shares(Excerpt, "")
	one, other := bob.asks(stripe), bob.asks("zanzibar quokka marsupial webhook")
	if len(one.Answers) != 1 || len(other.Answers) != 1 || one.Answers[0].Text != other.Answers[0].Text {
		t.Errorf("%+v\n%+v", one.Answers, other.Answers)
	}
}

// What was forgotten after it was offered is not handed out.
func TestForgottenAfterTheOffer(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	alice.shares(Hint, "")
	r := bob.asks(stripe)
	ids, err := alice.memory.Matching(context.Background(), "", "/p")
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	if _, err := alice.memory.Forget(context.Background(), ids); err != nil {
		t.Fatal(err)
	}
	alice.shares(Excerpt, "")
	bob.fetches("alice", r.ID, fetch{Offers: []string{r.Offers[0].ID}})
	if e := alice.answers(2)[0]; e.Status != StatusGone {
		t.Errorf("%+v", e)
	}
	open, err := alice.Requests()
	if err != nil || len(open) != 1 {
		t.Fatal(open, err)
	}
	if _, err := alice.Decide(context.Background(), open[0].ID, true, false); err != nil {
		t.Fatal(err)
	}
	if e := alice.answers(3)[0]; e.Status != StatusGone || strings.Contains(string(e.Sent), "raw request") {
		t.Errorf("approved, and forgotten: %+v", e)
	}
}

// To ask one word after the other, or for what is not there, leaves no trace and gets nothing.
func TestQuestionsWithoutSubstance(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	alice.shares(Excerpt, "")
	for _, q := range []string{"stripe", "webhook signature", "does the test fail with an error in the file"} {
		bob.asksInVain(q)
	}
	bob.asksInVain("flexbox alignment of grid columns")
	if list, err := alice.Log(10); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	bob.limits.AsksPerDay = 5
	bob.asks(stripe)
	if _, err := bob.Ask(context.Background(), Question{Mesh: "acme", To: "*", Text: stripe}); err == nil {
		t.Error("bob asks without a limit")
	}
}

// At most three requests of one person wait, and an approval for ever is for a project.
func TestRequestsAreFewAndNarrow(t *testing.T) {
	w := newWorld(t)
	alice, mallory := w.person("alice"), w.person("mallory")
	alice.limits.PerMinute = 100
	alice.remembers("", problem)
	alice.shares(Hint, "")
	for _, word := range []string{"one", "two", "three", "four", "five"} {
		mallory.asks(stripe + " " + word)
	}
	open, err := alice.Requests()
	if err != nil || len(open) != maxRequests {
		t.Fatalf("%d requests, %v", len(open), err)
	}
	alice.eventually("a notice for each", func() bool { return len(alice.notices) == maxRequests })
	if _, err := alice.Decide(context.Background(), open[0].ID, true, true); err != nil {
		t.Fatal(err)
	}
	rules, err := alice.Rules()
	if err != nil || len(rules) != 1 {
		t.Errorf("an approval without a project makes a rule: %+v %v", rules, err)
	}
}

// The clocks of two machines are a day apart, in either direction.
func TestClocksADayApart(t *testing.T) {
	for _, skew := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		w := newWorld(t)
		alice, bob := w.person("alice"), w.person("bob")
		alice.remembers("/p", problem)
		alice.shares(Excerpt, "")
		bob.now = func() time.Time { return time.Now().Add(skew) }
		if r := bob.asks(stripe); len(r.Answers) != 1 {
			t.Errorf("bob's clock is %s ahead: %+v", skew, r)
		}
	}
}

// writer is a model.
type writer struct {
	mu    sync.Mutex
	seen  []string
	write func(ctx context.Context) (string, float64, error)
}

// Compose implements Composer.
func (w *writer) Compose(ctx context.Context, question string, episodes []string, _ int) (string, float64, error) {
	w.mu.Lock()
	w.seen = append(w.seen, question+"\n"+strings.Join(episodes, "\n"))
	w.mu.Unlock()
	return w.write(ctx)
}

// Alice's machine composes for bob from what he may see, three times a day. A model that fails or hangs costs him nothing but the answer.
func TestComposed(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	model := &writer{write: func(context.Context) (string, float64, error) {
		return "do it over the raw bytes, password: Xy12zz99Qq", 0.02, nil
	}}
	alice.composer = model
	alice.limits.ComposeTime = 50 * time.Millisecond
	alice.remembers("/p", problem+strings.Repeat("\nlong detail of the webhook", 400)+"\nTHE-END-NOBODY-GETS"+strings.Repeat("\nmore detail", 400))
	alice.shares(Compose, "")
	offer := bob.asks(stripe).Answers[0].Offer
	follow := func(text string) Answer {
		t.Helper()
		r, err := bob.Follow(context.Background(), offer, text, 20*time.Second)
		if err != nil || len(r.Answers) != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		return r.Answers[0]
	}
	if a := follow("which bytes?"); !a.Composed || strings.Contains(a.Text, "Xy12zz99Qq") || !strings.Contains(a.Text, "raw bytes") {
		t.Errorf("%+v", a)
	}
	if seen := model.seen[0]; strings.Contains(seen, "THE-END") || len(seen) > maxPassage+100 || !strings.Contains(seen, "which bytes?") {
		t.Errorf("the model reads %d bytes", len(seen))
	}
	if e := alice.answers(2)[0]; e.Level != Compose || e.Cost != 0.02 {
		t.Errorf("%+v", e)
	}
	model.write = func(context.Context) (string, float64, error) { return "", 0.01, errors.New("too dear") }
	if a := follow("and a failing model?"); a.Composed {
		t.Errorf("%+v", a)
	}
	model.write = func(ctx context.Context) (string, float64, error) { <-ctx.Done(); return "", 0, ctx.Err() }
	if a := follow("and a hanging one?"); a.Composed {
		t.Errorf("%+v", a)
	}
	if a := follow("and a fourth time?"); a.Composed || len(model.seen) != 3 {
		t.Errorf("%+v, %d answers composed", a, len(model.seen))
	}
}

// While bob's answer waits for its turn, alice takes the sharing back.
func TestUnsharedWhileItIsComposed(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	model := &writer{write: func(context.Context) (string, float64, error) { return "composed", 0, nil }}
	alice.composer = model
	alice.remembers("/p", problem)
	alice.shares(Compose, "")
	offer := bob.asks(stripe).Answers[0].Offer
	alice.working <- struct{}{} // another answer is being composed
	done := make(chan Reply, 1)
	go func() {
		r, _ := bob.Follow(context.Background(), offer, "which bytes?", 20*time.Second)
		done <- r
	}()
	alice.eventually("the follow-up is taken", func() bool {
		key, _, err := alice.Engine.next()
		bob.mu.Lock()
		n := len(bob.sent)
		bob.mu.Unlock()
		return err == nil && key == nil && n >= 3 // ask, fetch, fetch
	})
	if _, err := alice.Unshare("acme", "*"); err != nil {
		t.Fatal(err)
	}
	<-alice.working
	if r := <-done; len(r.Answers) != 0 || len(model.seen) != 0 {
		t.Errorf("%+v, %v", r, model.seen)
	}
}
