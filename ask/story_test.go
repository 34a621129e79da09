package ask

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

const (
	problem = "The Stripe webhook signature does not verify and answers 400. The fix: compute the HMAC over the raw request body."
	stripe  = "stripe webhook signature does not verify"
)

func TestBobAsksAndAliceAnswersByHerself(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	w.person("cathy")
	alice.remembers("/home/alice/payments", problem+" See /home/alice/payments/hook.go, password: Xy12zz99Qq")
	alice.shares(Excerpt, "")
	r := bob.asks(stripe, "400", "signature")
	if len(r.Answers) != 1 || r.People != 2 || r.Online != 2 {
		t.Fatalf("%+v", r)
	}
	a := r.Answers[0]
	if a.Name != "alice" || a.Project != "payments" || !strings.Contains(a.Text, "raw request body") {
		t.Errorf("%+v", a)
	}
	if strings.Contains(a.Text, "Xy12zz99Qq") || strings.Contains(a.Text, "/home/alice") {
		t.Errorf("what must not leave left: %s", a.Text)
	}
	entries, err := alice.Log(10)
	if err != nil || len(entries) != 2 || entries[0].What != "answer" || entries[1].What != "bid" {
		t.Fatalf("%+v %v", entries, err)
	}
	if e, err := alice.LogEntry(entries[0].N); err != nil || !strings.Contains(string(e.Sent), "raw request body") || e.Name != "bob" {
		t.Errorf("%+v %v", e, err)
	}
	if strings.Contains(string(entries[1].Sent), "raw request") {
		t.Error("a bid has content")
	}
	if hits := bob.finds("raw request body"); hits != 0 {
		t.Error("bob's memory stored the answer")
	}
}

func (p *person) finds(text string) int {
	r, err := p.Search(context.Background(), recallQuery(text))
	if err != nil {
		p.w.t.Fatal(err)
	}
	return len(r)
}

func TestNothingLeavesBeforeThePersonAllowedIt(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	bob.asksInVain(stripe)
	alice.shares(Excerpt, "/p", "cathy")
	bob.asksInVain(stripe)
	alice.shares(Excerpt, "/q", "bob")
	bob.asksInVain(stripe)
	alice.shares(Excerpt, "", "bob")
	if r := bob.asks(stripe); len(r.Answers) != 1 {
		t.Fatalf("%+v", r)
	}
	alice.shares(None, "/p")
	bob.asksInVain(stripe)
	if n, err := alice.Unshare("acme", "*"); err != nil || n != 4 {
		t.Fatal(n, err)
	}
}

func TestAHintNeedsThePerson(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	alice.shares(Hint, "")
	r, err := bob.Ask(context.Background(), Question{Mesh: "acme", To: "*", Session: "web", Text: stripe, Wait: 20 * time.Second})
	if err != nil || len(r.Answers) != 0 || len(r.Offers) != 1 || r.Offers[0].Status != StatusPending {
		t.Fatalf("%+v %v", r, err)
	}
	open, err := alice.Requests()
	if err != nil || len(open) != 1 || !strings.Contains(open[0].Would, "raw request body") || len(alice.notices) != 1 {
		t.Fatalf("%+v %v %v", open, alice.notices, err)
	}
	if _, err := alice.Decide(context.Background(), open[0].ID, true, true); err != nil {
		t.Fatal(err)
	}
	bob.eventually("the answer comes as mail", func() bool { return len(bob.mail) == 1 && strings.Contains(bob.mail[0], "raw request body") })
	if _, err := alice.Decide(context.Background(), open[0].ID, true, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("decided twice: %v", err)
	}
	if r := bob.asks(stripe); len(r.Answers) != 1 {
		t.Errorf("always allowed, and yet %+v", r)
	}
}

func TestDenied(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	alice.shares(Hint, "")
	r := bob.asks(stripe)
	open, err := alice.Requests()
	if err != nil || len(open) != 1 {
		t.Fatal(open, err)
	}
	if _, err := alice.Decide(context.Background(), open[0].ID[:6], false, false); err != nil {
		t.Fatal(err)
	}
	bob.eventually("the refusal", func() bool {
		a, err := bob.Asked(r.ID)
		return err == nil && a.Offers[0].Status == StatusRefused && len(a.Answers) == 0
	})
}

func TestWhoComesLaterStillAnswers(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	alice.shares(Excerpt, "")
	alice.offline = true
	r, err := bob.Ask(context.Background(), Question{Mesh: "acme", To: "*", Session: "web", Text: stripe, Wait: 50 * time.Millisecond})
	if err != nil || len(r.Answers) != 0 || r.People != 1 || r.Online != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	alice.returns()
	bob.eventually("the late answer is mail", func() bool { return len(bob.mail) == 1 && strings.Contains(bob.mail[0], "raw request body") })
}

func TestOwnMemoryComesFirst(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob")
	w.person("alice")
	bob.remembers("/p", problem)
	if r := bob.asksFor(200*time.Millisecond, stripe); len(r.Own) != 1 || len(r.Answers) != 0 {
		t.Fatalf("%+v", r)
	}
}

func TestUnrelatedQuestionsMeetSilence(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	alice.remembers("/p", "The kubernetes ingress needs the proxy-body-size annotation")
	alice.shares(Excerpt, "")
	bob.asksInVain("how do I centre a div in css with flexbox", "flexbox", "justify-content")
}

func TestRateAndLimits(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	alice.remembers("/p", problem)
	alice.shares(Excerpt, "")
	r := bob.asks(stripe)
	if err := bob.Rate(r.Offers[0].ID, false); err != nil {
		t.Fatal(err)
	}
	if err := bob.Rate(r.Offers[0].ID[:6], true); err != nil {
		t.Fatal(err)
	}
	if err := bob.Rate("ZZZZZZZZ", true); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	silent := false
	for range 8 {
		silent = silent || len(bob.asksFor(time.Second, stripe).Offers) == 0
	}
	if !silent {
		t.Error("alice answers without a limit")
	}
}

func TestBadQuestions(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob")
	w.person("alice")
	for _, q := range []Question{{}, {Text: strings.Repeat("x", 100_000)}, {Text: "x", Wait: time.Hour}, {Text: "x", To: "nobody"}} {
		q.Mesh = "acme"
		if _, err := bob.Ask(context.Background(), q); err == nil {
			t.Errorf("%+v is asked", q)
		}
	}
	terms := make([]string, 10_000)
	for i := range terms {
		terms[i] = strings.Repeat("t", 500)
	}
	if r := bob.asksFor(200*time.Millisecond, "x", terms...); r.People != 1 {
		t.Errorf("%+v", r)
	}
}
