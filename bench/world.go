package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// world is the mesh of a run with its people and their sealed messages. It is made once; floor and broker get the same.
type world struct {
	pattern  Pattern
	size     int
	messages int // of each writer
	mesh     protocol.MeshID
	charter  *protocol.Statement
	certs    []string
	people   []*person
	away     *person // for whom Options.Queued messages wait
	view     *protocol.View
	run      string // eight hex digits, so that ids of two runs differ
}

// person is one member of the mesh.
type person struct {
	name     string
	mesh     protocol.MeshID
	key      *crypto.PrivateKey
	instance [8]byte
	letters  []letter
	reader   bool // connects only to drain
}

// letter is one sealed message, ready for the wire.
type letter struct {
	to         int // index among the people; -1: all others
	frame      []byte
	ciphertext []byte // its part of frame
}

func newPerson(name string) *person {
	return &person{name: name, key: crypto.GenerateKey(), instance: [8]byte(crypto.RandomBytes(8))}
}

func newWorld(o Options) *world {
	w := &world{pattern: o.Pattern, size: o.Size, messages: o.Messages, run: fmt.Sprintf("%x", crypto.RandomBytes(4))}
	var err error
	people := make([]*person, o.Peers+1)
	for i := range people {
		people[i] = newPerson(fmt.Sprintf("peer-%d", i))
		people[i].reader = o.Pattern == Offline && i%2 == 1
	}
	if w.charter, w.certs, err = found(people); err != nil {
		panic("bench: a mesh of our own making: " + err.Error())
	}
	w.mesh = w.charter.Mesh()
	w.people, w.away = people[:o.Peers], people[o.Peers]
	return w
}

// found makes the statements of a mesh with these members.
func found(people []*person) (charter *protocol.Statement, certs []string, err error) {
	owner := crypto.GenerateKey()
	now := time.Now().Unix()
	charter, err = protocol.Sign(&protocol.Charter{Owner: owner.Public(), Created: now, Random: [16]byte(crypto.RandomBytes(16)), Slug: "bench"}, owner)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range people {
		p.mesh = charter.Mesh()
		cert, err := protocol.Sign(&protocol.Cert{
			Mesh: charter.Mesh(), Issuer: owner.Public(), Member: p.key.Public(), Name: p.name, Role: protocol.RoleMember, Issued: now,
		}, owner)
		if err != nil {
			return nil, nil, err
		}
		certs = append(certs, cert.Text())
	}
	return charter, certs, nil
}

// writers is the number of people who send.
func (w *world) writers() int {
	if w.pattern == Offline {
		return (len(w.people) + 1) / 2
	}
	return len(w.people)
}

func (w *world) total() int { return w.writers() * w.messages }

// deliveries is how many pushes a complete run has.
func (w *world) deliveries() int {
	if w.pattern == Fanout {
		return w.total() * (len(w.people) - 1)
	}
	return w.total()
}

// seal seals every message. Pair keys are derived here, before any clock starts.
func (w *world) seal() error {
	var statements []*protocol.Statement
	for _, text := range w.certs {
		st, err := protocol.ParseText(text)
		if err != nil {
			return err
		}
		statements = append(statements, st)
	}
	w.view = protocol.NewView(w.charter, statements, protocol.Pins{})
	var all sync.WaitGroup
	turns := make(chan int)
	failed := make(chan error, 1)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := range turns {
				if err := w.sealAll(i); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i, p := range w.people {
		if !p.reader {
			turns <- i
		}
	}
	close(turns)
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// sealAll seals the messages of one writer.
func (w *world) sealAll(from int) error {
	p := w.people[from]
	shared := make(map[int]crypto.Key)
	sharedWith := func(to int) (crypto.Key, error) {
		k, ok := shared[to]
		var err error
		if !ok {
			k, err = p.key.Shared(w.people[to].key.Public())
			shared[to] = k
		}
		return k, err
	}
	random := rand.New(rand.NewPCG(1, uint64(from)))
	body := bytes.Repeat([]byte("m"), w.size)
	p.letters = make([]letter, w.messages)
	for n := range p.letters {
		to := w.recipient(from, random)
		var err error
		if to < 0 {
			p.letters[n], err = w.sealGroup(from, n, body, sharedWith)
		} else {
			p.letters[n], err = w.sealDirect(from, to, n, body, sharedWith)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recipient chooses whom the next message of a writer is for.
func (w *world) recipient(from int, random *rand.Rand) int {
	n := len(w.people)
	switch w.pattern {
	case Fanout:
		return -1
	case Pairs:
		if from^1 < n {
			return from ^ 1
		}
		return 0
	case Offline:
		return random.IntN(n/2)*2 + 1
	}
	to := random.IntN(n - 1)
	if to >= from {
		to++
	}
	return to
}

func (w *world) header(from, n int, to string) *protocol.Header {
	key := w.people[from].key.Public()
	return &protocol.Header{
		ID: messageID(w.run, from, n), Mesh: w.mesh, From: key, Member: key, To: to, Prio: protocol.PriorityNext,
		TS: time.Now().UnixMilli(), Ep: "0011223344556677", Log: w.view.Digest(),
	}
}

func (w *world) sealDirect(from, to, n int, body []byte, sharedWith func(int) (crypto.Key, error)) (letter, error) {
	shared, err := sharedWith(to)
	if err != nil {
		return letter{}, err
	}
	h := w.header(from, n, w.people[to].key.Public().String())
	h.Seq = uint64(n + 1)
	nonce, ciphertext, err := protocol.SealDirect(h, body, w.people[from].key, &shared)
	if err != nil {
		return letter{}, err
	}
	return newLetter(to, protocol.Send{ID: h.ID, TargetSpec: h.To, Priority: h.Prio}, nonce, ciphertext)
}

func (w *world) sealGroup(from, n int, body []byte, sharedWith func(int) (crypto.Key, error)) (letter, error) {
	h := w.header(from, n, "*")
	g, err := protocol.SealGroup(h, body, w.people[from].key)
	if err != nil {
		return letter{}, err
	}
	s := protocol.Send{ID: h.ID, TargetSpec: h.To, Priority: h.Prio, Keys: make(map[string]string)}
	for to, p := range w.people {
		if to == from {
			continue
		}
		shared, err := sharedWith(to)
		if err != nil {
			return letter{}, err
		}
		s.Keys[p.key.Public().String()] = base64.StdEncoding.EncodeToString(g.Wrap(uint64(n+1), &shared))
	}
	return newLetter(-1, s, g.Nonce, g.Ciphertext)
}

func newLetter(to int, s protocol.Send, nonce, ciphertext []byte) (letter, error) {
	s.Tag = protocol.Tag{Type: protocol.TypeSend}
	s.Nonce, s.Ciphertext = base64.StdEncoding.EncodeToString(nonce), base64.StdEncoding.EncodeToString(ciphertext)
	frame, err := json.Marshal(s)
	return letter{to: to, frame: frame, ciphertext: value(frame, `"ciphertext":"`)}, err
}

// messageID is the id of message n of a writer: 22 characters that tell both.
func messageID(run string, from, n int) string { return fmt.Sprintf("%s%05d%09d", run, from, n) }

// parseID is the inverse. It reports false for an id of another run.
func (w *world) parseID(id []byte) (from, n int, ok bool) {
	if len(id) != 22 || string(id[:8]) != w.run {
		return 0, 0, false
	}
	from, err := strconv.Atoi(string(id[8:13]))
	if err != nil {
		return 0, 0, false
	}
	n, err = strconv.Atoi(string(id[13:]))
	ok = err == nil && from < len(w.people) && n < len(w.people[from].letters)
	return from, n, ok
}

// value returns the text behind the first name in a flat frame of ours, or nil.
func value(frame []byte, name string) []byte {
	i := bytes.Index(frame, []byte(name))
	if i < 0 {
		return nil
	}
	rest := frame[i+len(name):]
	j := bytes.IndexByte(rest, '"')
	if j < 0 {
		return nil
	}
	return rest[:j]
}

// create makes the mesh on the broker. The floor has no meshes and says so.
func (w *world) create(ctx context.Context, o Options, url string) error {
	err := createMesh(ctx, url, o.AdminToken, append([]string{w.charter.Text()}, w.certs...))
	if err != nil {
		return fmt.Errorf("make the mesh of the run: %w", err)
	}
	return nil
}

func createMesh(ctx context.Context, url, token string, statements []string) error {
	body, err := json.Marshal(protocol.CreateRequest{Statements: statements})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, protocol.HTTPBase(url)+"/api/v1/meshes", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var reply protocol.CreateReply
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return fmt.Errorf("read the answer (%s): %w", resp.Status, err)
	}
	if !reply.OK {
		return protocol.Refuse(reply.Code, "%s", reply.Error)
	}
	return nil
}

// openSome opens up to a thousand of the messages that arrived, as their recipients, and returns how many do not open.
func (w *world) openSome(g *load) (bad int) {
	for _, s := range g.samples() {
		from, n, ok := w.parseID([]byte(s.push.ClientMessageID))
		p := w.people[s.to]
		o := protocol.Opener{Mesh: w.mesh, View: w.view, Now: time.Now(), Member: p.key.Public()}
		o.Shared = func(_, peer crypto.PublicKey) (crypto.Key, error) { return p.key.Shared(peer) }
		m, err := o.Open(s.push.Incoming())
		if !ok || err != nil || m.Member() != w.people[from].key.Public() {
			bad++
			continue
		}
		if text, _ := m.Text(); len(text) != w.size || m.ID() != messageID(w.run, from, n) {
			bad++
		}
	}
	return bad
}
