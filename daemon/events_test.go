package daemon

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// stream reads a stream of events as a client does.
type stream struct {
	t    *testing.T
	next func() (protocol.Event, error, bool)
}

func (d *testDaemon) stream(q client.EventQuery) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	next, stop := iter.Pull2(d.Events(ctx, q))
	d.t.Cleanup(func() { cancel(); stop() })
	return &stream{t: d.t, next: next}
}

// want reads the next event, which must be a notice of that text, or of a type alone.
func (s *stream) want(what string) protocol.Event {
	s.t.Helper()
	e, err, ok := s.next()
	if err != nil || !ok {
		s.t.Fatalf("want %s: %v", what, err)
	}
	if e.Notice != what && e.Type != what {
		s.t.Fatalf("got %+v, want %s", e, what)
	}
	return e
}

func (d *testDaemon) notice(text string, o inbox.EventOptions) {
	d.Hub.Emit(protocol.Event{Type: inbox.EventNotice, Notice: text}, o)
}

func TestEventsLiveAndReplayed(t *testing.T) {
	d := startDaemon(t, newHome(t))
	d.notice("before", inbox.EventOptions{})
	live := d.stream(client.EventQuery{})
	live.want("ready")
	d.notice("one", inbox.EventOptions{})
	one := live.want("one")
	d.notice("two", inbox.EventOptions{})
	live.want("two")
	if one.Seq == 0 || one.At.IsZero() {
		t.Errorf("event %+v", one)
	}
	replay := d.stream(client.EventQuery{Replay: true})
	for _, what := range []string{"ready", "before", "one", "two"} {
		replay.want(what)
	}
	late := d.stream(client.EventQuery{Replay: true, After: one.Seq})
	if e := late.want("ready"); e.Seq != one.Seq {
		t.Errorf("ready at %d, asked for %d", e.Seq, one.Seq)
	}
	late.want("two")
	d.notice("three", inbox.EventOptions{})
	for _, s := range []*stream{live, replay, late} {
		s.want("three")
	}
}

// The cursor and the events survive the daemon; Follow goes on where it was.
func TestEventsOverARestart(t *testing.T) {
	home := newHome(t)
	first := startDaemon(t, home)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	next, stop := iter.Pull2(client.Dial(home).Follow(ctx, client.EventQuery{}))
	defer stop()
	s := &stream{t: t, next: next}
	s.want("ready")
	first.notice("one", inbox.EventOptions{})
	s.want("one")
	first.notice("two", inbox.EventOptions{})
	first.end()
	second := startDaemon(t, home)
	second.notice("three", inbox.EventOptions{})
	var got []string
	for len(got) < 2 {
		e, err, ok := next()
		if err != nil || !ok {
			t.Fatal(err)
		}
		if e.Type == inbox.EventNotice {
			got = append(got, e.Notice)
		}
	}
	if !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("followed %q", got)
	}
}

// What is kept is capped, and a reader who was away for longer is told.
func TestEventsCapped(t *testing.T) {
	d := startDaemon(t, newHome(t))
	const more = 25
	err := d.DB.Commit(func(tx *store.Tx) error {
		for n := range inbox.EventsKept + more {
			if err := d.Hub.Put(tx, protocol.Event{Type: inbox.EventNotice, Notice: fmt.Sprint(n + 1)}, inbox.EventOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if first, last, err := d.Hub.Span(); err != nil || first != more+1 || last != inbox.EventsKept+more {
		t.Errorf("kept %d to %d, %v", first, last, err)
	}
	s := d.stream(client.EventQuery{Replay: true, After: 5})
	if e := s.want("ready"); !strings.Contains(e.Notice, "20 events") {
		t.Errorf("ready %+v", e)
	}
	s.want(fmt.Sprint(more + 1))
	ahead := d.stream(client.EventQuery{Replay: true, After: 1 << 40})
	if e := ahead.want("ready"); e.Seq != inbox.EventsKept+more || e.Notice == "" {
		t.Errorf("ready %+v", e)
	}
}

// alarm puts a message without content into the inbox, with its event, as the mesh does.
func (d *testDaemon) alarm(id string, row inbox.Row, session string) {
	d.t.Helper()
	row.MessageID, row.Alarm, row.Received = id, "test", time.Now().UnixMilli()
	err := d.DB.Commit(func(tx *store.Tx) error {
		n, err := d.Daemon.Mail.Add(tx, &row)
		if err != nil {
			return err
		}
		e := protocol.Event{Type: inbox.EventMessage, Message: &protocol.InboxMessage{Body: "body of " + id}}
		return d.Hub.Put(tx, e, inbox.EventOptions{Session: session, Inbox: n})
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.Hub.Wake()
}

// wantMessages reads messages by id.
func (s *stream) wantMessages(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		if e := s.want(inbox.EventMessage); e.Message == nil || e.Message.MessageID != id {
			s.t.Fatalf("got %+v, want message %s", e.Message, id)
		}
	}
}

// A session sees its own mail and its member's, but not what it sent itself nor another session's; the member sees all.
func TestEventsAreScoped(t *testing.T) {
	d := startDaemon(t, newHome(t))
	web, api, member := &keyring.Session{ID: "id-web", Label: "web", Key: crypto.GenerateKey()}, &keyring.Session{ID: "id-api", Label: "api", Key: crypto.GenerateKey()}, crypto.GenerateKey().Public()
	d.PutSession(web)
	d.PutSession(api)
	streams := map[string]*stream{"": d.stream(client.EventQuery{}), "web": d.stream(client.EventQuery{Session: "web"}), "api": d.stream(client.EventQuery{Session: "id-api"})}
	for _, s := range streams {
		s.want("ready")
	}
	d.alarm("for-web", inbox.Row{Own: web.Public()}, web.ID)
	d.alarm("for-member", inbox.Row{Own: member, Member: true}, "")
	d.alarm("from-web", inbox.Row{Own: member, Member: true, From: web.Public()}, "")
	d.notice("web only", inbox.EventOptions{Session: web.ID})
	d.alarm("last", inbox.Row{Own: member, Member: true}, "")
	streams[""].wantMessages("for-web", "for-member", "from-web")
	streams[""].want("web only")
	streams[""].wantMessages("last")
	streams["web"].wantMessages("for-web", "for-member")
	streams["web"].want("web only")
	streams["web"].wantMessages("last")
	streams["api"].wantMessages("for-member", "from-web", "last")

	_, err, _ := d.stream(client.EventQuery{Session: "nobody"}).next()
	wantCode(t, "a session that is not here", err, protocol.CodeNotFound)
	_, err, _ = d.stream(client.EventQuery{Mesh: "nowhere"}).next()
	wantCode(t, "a mesh that is not joined", err, protocol.CodeNotFound)
}

// A message that was deleted is gone from the replay too: no copy is kept.
func TestEventsForgetDeletedMessages(t *testing.T) {
	d := startDaemon(t, newHome(t))
	member := crypto.GenerateKey().Public()
	d.alarm("message-1", inbox.Row{Own: member, Member: true}, "")
	d.alarm("message-2", inbox.Row{Own: member, Member: true}, "")
	if n, err := d.DeleteMessages(context.Background(), protocol.InboxChange{IDs: []string{"message-1"}}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	s := d.stream(client.EventQuery{Replay: true})
	s.want("ready")
	s.wantMessages("message-2")
	d.DB.View(func(tx *store.Tx) error {
		for _, v := range tx.Scan(table.Events, nil, nil) {
			if strings.Contains(string(v), "body of") {
				t.Error("an event holds a copy of the body")
			}
		}
		return nil
	})
}

// A reader that stops reading holds up nobody, and the end of the daemon ends its stream.
func TestEventsSlowReader(t *testing.T) {
	d := startDaemon(t, newHome(t))
	slow := d.stream(client.EventQuery{})
	slow.want("ready")
	long := strings.Repeat("x", 10<<10)
	err := d.DB.Commit(func(tx *store.Tx) error {
		for range 500 { // 5 MiB: more than any socket buffers
			if err := d.Hub.Put(tx, protocol.Event{Type: inbox.EventNotice, Notice: long}, inbox.EventOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Hub.Wake()
	d.notice("end", inbox.EventOptions{})
	quick := d.stream(client.EventQuery{Replay: true, After: 500})
	quick.want("ready")
	quick.want("end")
	d.end()
}
