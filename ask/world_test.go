package ask

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/store"
)

// world is a mesh without a network: what one sends, the engines of the others take.
type world struct {
	t      *testing.T
	mu     sync.Mutex
	n      int
	people map[string]*person

	acting sync.WaitGroup // changed clients
}

// person is somebody with a machine: an engine, a memory, and what reached the person.
type person struct {
	*Engine
	w       *world
	name    string
	groups  []string
	banned  bool
	offline bool
	db      *store.DB
	memory  *recall.Memory
	missed  []Incoming // while offline

	hasEverything func(Incoming) // a changed client: it answers by itself

	mu      sync.Mutex
	notices []string
	mail    []string
	sent    []string // kinds
}

func newWorld(t *testing.T) *world { return &world{t: t, people: map[string]*person{}} }

// person adds somebody. The key of a person is the name, padded.
func (w *world) person(name string, groups ...string) *person {
	w.t.Helper()
	dir := w.t.TempDir()
	db, err := store.Open(filepath.Join(dir, "daemon.db"), store.Options{Buckets: []string{Bucket}})
	if err != nil {
		w.t.Fatal(err)
	}
	memory, err := recall.Open(filepath.Join(dir, "recall.db"), recall.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	p := &person{w: w, name: name, groups: groups, db: db, memory: memory}
	p.Engine = New(Config{DB: db, Host: p})
	p.pause = func(context.Context) {}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	w.t.Cleanup(func() {
		w.mu.Lock()
		delete(w.people, name) // who still answers finds nobody there
		w.mu.Unlock()
		stop()
		running.Wait()
		db.Close()
		memory.Close()
	})
	w.mu.Lock()
	w.people[name] = p
	w.mu.Unlock()
	return p
}

func (p *person) remembers(dir, text string) {
	p.w.t.Helper()
	if _, _, err := p.memory.Remember(context.Background(), recall.NewNote{Text: text, By: recall.ByPerson, Dir: dir}); err != nil {
		p.w.t.Fatal(err)
	}
}

func (p *person) shares(level Level, dir string, with ...string) {
	p.w.t.Helper()
	if _, err := p.Share(Rule{Mesh: "acme", Dir: dir, With: with, Level: level}); err != nil {
		p.w.t.Fatal(err)
	}
}

// Send implements Host.
func (p *person) Send(_ context.Context, mesh, to, kind, replyTo, session string, body []byte) (string, []Person, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.n++
	id := fmt.Sprintf("message-%08d-xxxxxx", p.w.n)
	p.mu.Lock()
	p.sent = append(p.sent, kind)
	p.mu.Unlock()
	from := p.name
	if session != "" {
		from = p.name + "/" + session
	}
	var people []Person
	for _, other := range p.w.people {
		if other == p || to != "*" && to != other.name && !strings.HasPrefix(to, other.name+"/") && !other.in(to) {
			continue
		}
		people = append(people, Person{Key: other.name, Name: other.name, Online: !other.offline})
		if kind == KindLate {
			other.mu.Lock()
			other.mail = append(other.mail, string(body))
			other.mu.Unlock()
			continue
		}
		other.take(Incoming{Mesh: mesh, Member: p.name, From: from, ID: id, Kind: kind, ReplyTo: replyTo, Body: body})
	}
	if len(people) == 0 {
		return "", nil, errors.New("nobody there")
	}
	return id, people, nil
}

func (p *person) in(to string) bool {
	for _, g := range p.groups {
		if to == "@"+g {
			return true
		}
	}
	return false
}

func (p *person) take(in Incoming) {
	if p.hasEverything != nil {
		p.w.acting.Go(func() { p.hasEverything(in) })
		return
	}
	if p.offline {
		p.missed = append(p.missed, in)
		return
	}
	if err := p.db.Update(func(tx *store.Tx) error { return Queue(tx, in) }); err != nil {
		p.w.t.Error(err)
	}
	p.Wake()
}

func (p *person) returns() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.offline = false
	for _, in := range p.missed {
		p.take(in)
	}
}

// Asker implements Host.
func (p *person) Asker(_, member string) (Asker, bool) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	other := p.w.people[member]
	if other == nil || other.banned {
		return Asker{}, false
	}
	return Asker{Key: member, Name: member}, true
}

// Notice implements Host.
func (p *person) Notice(_, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notices = append(p.notices, text)
}

// Search implements Host.
func (p *person) Search(ctx context.Context, q recall.Query) ([]recall.Hit, error) {
	return p.memory.Search(ctx, q)
}

// Episode implements Host.
func (p *person) Episode(ctx context.Context, id int64) (recall.Hit, bool, error) {
	return p.memory.Get(ctx, id)
}

// Redact implements Host.
func (p *person) Redact(text string) string {
	text, _ = p.memory.Redact(text)
	return strings.ReplaceAll(text, "/home/"+p.name, "~")
}

// asks waits for an answer; asksInVain expects silence.
func (p *person) asks(text string, terms ...string) Reply {
	p.w.t.Helper()
	return p.asksFor(20*time.Second, text, terms...)
}

func (p *person) asksInVain(text string, terms ...string) {
	p.w.t.Helper()
	if r := p.asksFor(200*time.Millisecond, text, terms...); len(r.Offers)+len(r.Answers) > 0 {
		p.w.t.Fatalf("not silence: %+v", r)
	}
}

func (p *person) asksFor(wait time.Duration, text string, terms ...string) Reply {
	p.w.t.Helper()
	r, err := p.Ask(context.Background(), Question{Mesh: "acme", To: "*", Text: text, Terms: terms, Wait: wait})
	if err != nil {
		p.w.t.Fatal(err)
	}
	return r
}

// eventually waits for a condition. It fails after a minute.
func (p *person) eventually(what string, cond func() bool) {
	p.w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		p.mu.Lock()
		ok := cond()
		p.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			p.w.t.Fatalf("%s: %s did not happen", p.name, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
