package mesh

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
)

// logState is what the control connection knows of the broker's log.
type logState struct {
	cursor  uint64               // newest number that we have
	has     map[protocol.ID]bool // statements that the broker has, or refused: not offered again
	read    map[string]bool      // session statements that were looked at, by their text
	learned bool                 // some were new
}

// chores are what others leave for the control connection. They are guarded by Mesh.mu.
type chores struct {
	log     bool                          // fetch the log
	members bool                          // ask for the members
	duties  bool                          // the view or the members changed
	differ  map[crypto.PublicKey][32]byte // members whose log is another one, and its digest
}

// chore adds to the chores and wakes the control connection.
func (m *Mesh) chore(add func(*chores)) {
	m.mu.Lock()
	add(&m.todo)
	m.mu.Unlock()
	m.control.wakeUp()
}

// syncAll brings a fresh control connection up to date, both ways.
func (w *worker) syncAll() error {
	if err := w.fetchLog(); err != nil {
		return err
	}
	if err := w.listMembers(); err != nil {
		return err
	}
	if err := w.listPeers(); err != nil {
		return err
	}
	if err := w.m.tellGrants(w.c); err != nil {
		return err
	}
	if err := w.duties(); err != nil {
		return err
	}
	return w.retryAside()
}

// keepLog does the chores that others left.
func (w *worker) keepLog() error {
	w.m.mu.Lock()
	todo := w.m.todo
	w.m.todo = chores{}
	w.m.mu.Unlock()
	if todo.log {
		if err := w.fetchLog(); err != nil {
			return err
		}
	}
	if todo.members {
		if err := w.listMembers(); err != nil {
			return err
		}
	}
	if todo.duties || todo.log || todo.members {
		if err := w.duties(); err != nil {
			return err
		}
	}
	for member, digest := range todo.differ {
		if digest == w.m.trust.View().Digest() {
			continue
		}
		if err := w.m.sendLog(member); err != nil {
			w.m.log.Warn("log not sent", "peer", member.Short(), "err", err)
		}
	}
	return nil
}

// fetchLog takes from the broker the statements that are new.
func (w *worker) fetchLog() error {
	for {
		ask := protocol.Log{Tag: protocol.Tag{Type: protocol.TypeLog}, After: w.log.cursor}
		var got protocol.Log
		if err := w.c.call(&ask, &ask.Tag, protocol.TypeLog, &got); err != nil {
			return err
		}
		before := w.log.cursor
		if err := w.takeLog(&got); err != nil {
			return err
		}
		if !got.More || w.log.cursor <= before {
			return nil
		}
	}
}

// takeLog merges a piece of the broker's log.
func (w *worker) takeLog(f *protocol.Log) error {
	var statements []*protocol.Statement
	for _, text := range f.Statements {
		s, err := protocol.ParseTextIn(w.m.meshID, text)
		if err != nil {
			w.m.log.Warn("statement of the broker's log rejected", "err", err)
			continue
		}
		w.log.has[s.ID] = true
		statements = append(statements, s)
	}
	w.log.cursor = max(w.log.cursor, f.Cursor)
	return w.m.learnStatements(statements)
}

// handleLog takes a log that the broker pushed.
func (w *worker) handleLog(frame []byte) error {
	var f protocol.Log
	if err := decodeFrame(w.m.log, frame, &f); err != nil || !w.u.control {
		return nil
	}
	if f.More {
		w.m.chore(func(c *chores) { c.log = true })
	}
	return w.takeLog(&f)
}

// learnStatements merges statements, and sets in motion what follows from them.
func (m *Mesh) learnStatements(statements []*protocol.Statement) error {
	statements = slices.DeleteFunc(slices.Clone(statements), func(s *protocol.Statement) bool { return s.Premature(m.env.now()) })
	if len(statements) == 0 {
		return nil
	}
	c, err := m.trust.Merge(statements...)
	if err != nil {
		return err
	}
	m.follow(c)
	return nil
}

// follow acts on what a merge changed.
func (m *Mesh) follow(c trust.Change) {
	for _, alarm := range c.Alarms {
		m.notice("alarm in " + m.Slug() + ": " + alarm)
	}
	for _, name := range c.Moved {
		m.notice("the name " + name + " in " + m.Slug() + " belongs to another key now: compare safety numbers again")
	}
	if len(c.Added) > 0 {
		m.chore(func(t *chores) { t.duties = true })
	}
	if !c.Members {
		return
	}
	for _, key := range c.Revoked {
		if key == m.self {
			m.notice("this machine's key was removed from " + m.Slug())
		}
	}
	m.env.Events.Emit(protocol.Event{Type: inbox.EventMesh, Mesh: m.Slug(), Notice: "members changed"}, inbox.EventOptions{})
	m.relabel()
	m.control.readersChanged()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.uplinks {
		u.readersChanged()
	}
}

// relabel gives the member's own session statement the name of the certificate, which may be another than was asked for.
func (m *Mesh) relabel() {
	own, _ := m.ring.Session(m.self)
	if own.Label == m.label() {
		return
	}
	renamed := *own
	renamed.Label = m.label()
	if err := m.AddSession(&renamed); err != nil {
		m.log.Warn("new name not saved", "err", err)
	}
}

func (m *Mesh) notice(text string) {
	m.env.Events.Emit(protocol.Event{Type: inbox.EventNotice, Mesh: m.Slug(), Notice: text}, inbox.EventOptions{})
}

// One publish frame holds so many statements, or so many bytes of them: a frame that is too long would end the connection, and
// the next one.
const (
	publishChunk = 200
	publishBytes = protocol.MaxFrame / 2
)

// publishable is how many of the statements go into the next frame.
func publishable(statements []*protocol.Statement) (n int) {
	size := 0
	for n < min(len(statements), publishChunk) {
		size += len(statements[n].Raw())*4/3 + 8
		if n > 0 && size > publishBytes {
			break
		}
		n++
	}
	return n
}

// offer publishes statements and returns the broker's refusals.
func (w *worker) offer(statements []*protocol.Statement) ([]protocol.RefusedStatement, error) {
	var refused []protocol.RefusedStatement
	for len(statements) > 0 {
		n := publishable(statements)
		got, err := offerTo(w.c, statements[:n])
		if err != nil {
			return refused, err
		}
		refused = append(refused, got.Refused...)
		statements = statements[n:]
	}
	for _, r := range refused {
		w.m.log.Warn("statement refused by the broker", "id", r.ID, "reason", r.Code, "text", protocol.ForeignText(r.Message))
	}
	return refused, nil
}

// offerTo publishes statements on a connection, whoever's turn it is.
func offerTo(c *conn, statements []*protocol.Statement) (*protocol.Published, error) {
	frame := protocol.Publish{Tag: protocol.Tag{Type: protocol.TypePublish}}
	for _, s := range statements {
		frame.Statements = append(frame.Statements, s.Text())
	}
	got := new(protocol.Published)
	err := c.call(&frame, &frame.Tag, protocol.TypePublished, got)
	return got, err
}

// offerMissing publishes what is in force here and the broker has not.
func (w *worker) offerMissing() error {
	var missing []*protocol.Statement
	for _, s := range w.m.trust.View().Statements() {
		if !w.log.has[s.ID] {
			missing = append(missing, s)
			w.log.has[s.ID] = true
		}
	}
	_, err := w.offer(missing)
	return err
}

// compareLogs notes that the sender of a message knows another log than we do. The control connection asks the broker
// first; if that does not settle it, the two logs are exchanged sealed, past the broker.
func (m *Mesh) compareLogs(msg *protocol.Message) {
	digest := msg.Header().Log
	if digest == m.trust.View().Digest() {
		return
	}
	m.chore(func(c *chores) {
		c.log = true
		if c.differ == nil {
			c.differ = make(map[crypto.PublicKey][32]byte)
		}
		c.differ[msg.Member()] = digest
	})
}

// logEvery is how often one peer is sent our log: digests that go on differing must not become a conversation.
const logEvery = 10 * time.Minute

// sendLog seals all statements in force to a member.
func (m *Mesh) sendLog(member crypto.PublicKey) error {
	now := time.Now()
	m.mu.Lock()
	again := now.Sub(m.told[member]) < logEvery
	m.mu.Unlock()
	if again || member == m.self {
		return nil
	}
	for _, body := range protocol.EncodeLog(m.trust.View().Statements()) {
		_, err := m.accept(&draft{
			id: protocol.NewClientID(), from: m.key, to: member.String(), name: m.CallName(member), priority: protocol.PriorityLow,
			kind: protocol.KindLog, body: body, people: []outRecipient{{Key: member, Member: member, Name: m.CallName(member)}},
		})
		if err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.told[member] = now // not before: what the disk did not take was not told
	m.mu.Unlock()
	return nil
}

// takeKeys learns the API keys that the broker lists with a member.
func (w *worker) takeKeys(texts []string) error {
	var statements []*protocol.Statement
	for _, text := range texts {
		if w.log.read[text] {
			continue
		}
		s, err := protocol.ParseTextIn(w.m.meshID, text)
		if err != nil {
			continue
		}
		w.log.read[text] = true
		if body, ok := s.Body.(*protocol.APIKey); ok && w.m.trust.View().Verified(body.Member) {
			statements = append(statements, s)
		}
	}
	return w.m.trust.LearnAPIKeys(statements)
}
