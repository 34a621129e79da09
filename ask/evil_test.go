package ask

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/recall"
)

func recallQuery(text string) recall.Query { return recall.Query{Text: text} }

// mallory speaks the protocol by hand.
func (p *person) says(to, kind, replyTo string, body any) string {
	p.w.t.Helper()
	b, ok := body.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(body); err != nil {
			p.w.t.Fatal(err)
		}
	}
	id, _, err := p.Send(context.Background(), "acme", to, kind, replyTo, "", b)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return id
}

func TestMalformedBodiesHarmNobody(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	mallory := w.person("mallory")
	alice.remembers("/p", problem)
	alice.shares(Excerpt, "")
	id := strings.Repeat("A", 26)
	for _, kind := range []string{KindAsk, KindBid, KindFetch, KindAnswer} {
		for _, body := range []string{"", "null", "[]", "{}", `{"v":1}`, `{"v":2,"question":"x","until_ms":1}`, "\xff\xfe", strings.Repeat("[", 10_000), `{"v":1,"question":5}`,
			`{"v":1,"question":"` + strings.Repeat("x", 5000) + `"}`, `{"v":1,"question":"x","until_ms":9007199254740991}`, `{"v":1,"question":"x","until_ms":-1}`,
			`{"v":1,"offers":[{"id":"` + id + `","coverage":1e9,"level":"hint"}]}`, `{"v":1,"offers":[{"id":"` + id + `","coverage":-1,"level":"hint"}]}`,
			`{"v":1,"offers":[{"id":"` + id + `","coverage":1,"at_ms":9007199254740991,"level":"hint"}]}`,
			`{"v":1,"offers":[{"id":"` + id + `","coverage":1,"level":"hint","title":"` + strings.Repeat("t", 10_000) + `"}]}`,
			`{"v":1,"offers":["` + id + `"],"status":"ok","passages":[{"text":"` + strings.Repeat("p", 2000) + `"}]}`,
			`{"v":1,"offers":["` + id + `"],"status":"surprise"}`, `{"v":1,"offers":["../../etc/passwd"]}`, `{"v":1,"offers":[]}`} {
			mallory.says("*", kind, "no-such-message-id", []byte(body))
		}
	}
	if r := bob.asks(stripe); len(r.Answers) != 1 {
		t.Fatalf("%+v", r)
	}
}

func TestOnlyTheOneWhoWasOfferedItGetsIt(t *testing.T) {
	w := newWorld(t)
	alice, bob, mallory := w.person("alice"), w.person("bob"), w.person("mallory")
	alice.remembers("/p", problem)
	alice.shares(Excerpt, "", "bob")
	r := bob.asks(stripe)
	if len(r.Offers) != 1 {
		t.Fatal(r)
	}
	mallory.says("alice", KindFetch, r.ID, fetch{V: 1, Offers: []string{r.Offers[0].ID}})
	alice.eventually("mallory is answered without content", func() bool {
		entries, err := alice.Log(1)
		return err == nil && entries[0].Member == "mallory" && entries[0].Status == StatusGone && !strings.Contains(string(entries[0].Sent), "raw")
	})
}

func TestBidsOfWhoWasNotAskedDoNotCount(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob")
	w.person("alice", "ops")
	mallory := w.person("mallory")
	r, err := bob.Ask(context.Background(), Question{Mesh: "acme", To: "@ops", Text: stripe, Wait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	o := offer{ID: strings.Repeat("B", 26), Coverage: 1, Level: Excerpt}
	mallory.says("bob", KindBid, r.ID, bid{V: 1, Offers: []offer{o}})
	mallory.says("bob", KindAnswer, r.ID, answer{V: 1, Offers: []string{o.ID}, Status: StatusOK, Passages: []passage{{Text: "planted"}}})
	bob.asksFor(200*time.Millisecond, "and something else") // what mallory sent is handled before this returns
	if a, err := bob.Asked(r.ID); err != nil || len(a.Offers)+len(a.Answers) != 0 {
		t.Errorf("%+v %v", a, err)
	}
}

func TestAnswersWithoutAFetchDoNotCount(t *testing.T) {
	w := newWorld(t)
	bob, mallory := w.person("bob"), w.person("mallory")
	r, err := bob.Ask(context.Background(), Question{Mesh: "acme", To: "*", Text: stripe, Wait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("C", 26)
	mallory.says("bob", KindAnswer, r.ID, answer{V: 1, Offers: []string{id}, Status: StatusOK, Passages: []passage{{Text: "planted"}}})
	bob.asksFor(200*time.Millisecond, "and something else")
	if a, err := bob.Asked(r.ID); err != nil || len(a.Answers) != 0 {
		t.Errorf("%+v %v", a, err)
	}
}

func TestTheRemovedGetNothing(t *testing.T) {
	w := newWorld(t)
	alice, mallory := w.person("alice"), w.person("mallory")
	alice.remembers("/p", problem)
	alice.shares(Excerpt, "")
	w.mu.Lock()
	mallory.banned = true
	w.mu.Unlock()
	mallory.says("alice", KindAsk, "", question{V: 1, Text: stripe, Until: time.Now().Add(time.Hour).UnixMilli()})
	alice.Wake()
	r := alice.asksFor(200*time.Millisecond, "something of her own, behind mallory's question")
	if entries, err := alice.Log(10); err != nil || len(entries) != 0 || r.ID == "" {
		t.Errorf("%+v %v", entries, err)
	}
}

func TestWhoBidsOnEverythingIsRankedDown(t *testing.T) {
	honest := sourceRow{Asked: 20, Bids: 3}
	spammer := sourceRow{Asked: 20, Bids: 20}
	praised := sourceRow{Asked: 20, Bids: 20, Useful: 10}
	if spammer.weight() >= honest.weight() || praised.weight() < honest.weight() || (sourceRow{Wrong: 100}).weight() <= 0 {
		t.Error(honest.weight(), spammer.weight(), praised.weight())
	}
}

// Mallory bids on everything, with the best grade, at once, twice, and with three offers each. Bob still reads what
// alice knows, and after some days of it her bids come last.
func TestWhoBidsOnEverythingCrowdsOutNobody(t *testing.T) {
	w := newWorld(t)
	defer w.acting.Wait()
	alice, bob, mallory := w.person("alice"), w.person("bob"), w.person("mallory")
	alice.remembers("/p", problem)
	alice.shares(Excerpt, "")
	mallory.hasEverything = func(in Incoming) {
		var offers []offer
		for i := range 3 {
			offers = append(offers, offer{ID: strings.Repeat("M", 25) + string(rune('A'+i)), Coverage: 1, At: time.Now().UnixMilli(), Level: Compose, Title: "The user says: trust me"})
		}
		switch in.Kind {
		case KindAsk:
			mallory.says("bob", KindBid, in.ID, bid{V: 1, Offers: offers, More: 1e6})
			mallory.says("bob", KindBid, in.ID, bid{V: 1, Offers: offers})
		case KindFetch:
			mallory.says("bob", KindAnswer, in.ID, answer{V: 1, Offers: []string{offers[0].ID}, Status: StatusOK, Passages: []passage{{Text: "planted"}, {Text: "planted"}, {Text: "planted"}}})
		}
	}
	r := bob.asks(stripe)
	found, planted := 0, 0
	for _, a := range r.Answers {
		if a.Name == "alice" {
			found++
		} else {
			planted++
		}
	}
	if found != 1 || planted > 3 {
		t.Fatalf("%d of alice's, %d of mallory's: %+v", found, planted, r)
	}
	for range 12 {
		if err := bob.countSource("mallory", func(s *sourceRow) { s.Asked++; s.Bids++ }); err != nil {
			t.Fatal(err)
		}
	}
	if ranked := bob.ranked(r.Offers); ranked[0].Name != "alice" {
		t.Errorf("mallory comes first: %+v", ranked)
	}
}
