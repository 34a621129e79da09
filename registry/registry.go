package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SweepEvery is how long an ended process may go unnoticed where the system does not tell.
const SweepEvery = 5 * time.Second

// Session is one live session of this machine.
type Session struct {
	ID         string    `json:"id"`    // of the agent's own session, a UUID for Claude Code
	Label      string    `json:"label"` // unique among the live ones
	Cwd        string    `json:"cwd"`
	Model      string    `json:"model,omitempty"`
	Title      string    `json:"title,omitempty"`
	Channel    string    `json:"channel,omitempty"` // what kind of program
	Status     string    `json:"status,omitempty"`  // idle, working, waiting, dnd
	Bypass     bool      `json:"bypass,omitempty"`  // runs without permission prompts
	Active     time.Time `json:"active"`            // last sign of life from the agent itself
	Process    Process   `json:"process"`
	Registered time.Time `json:"registered"`
}

// Why a session ended.
const (
	ReasonExited   = "exited"   // its process is gone
	ReasonEnded    = "ended"    // it said so
	ReasonReplaced = "replaced" // its process went on under another session id
)

// Options configure a Registry. The zero value works, without persistence.
type Options struct {
	Save    func(sessions []byte) error // keeps the table, called after each change; nil: not kept
	OnStart func(Session)               // a session began, or registered again on another process
	OnEnd   func(s Session, reason string)
	Now     func() time.Time
	Logger  *slog.Logger
}

// Registry is the table of live sessions. Its methods may be called from any goroutine.
type Registry struct {
	o     Options
	watch *watcher
	calls sync.Mutex // serialises OnStart, OnEnd and Save; taken before mu

	mu       sync.Mutex
	sessions map[string]*entry
	closed   bool
}

type entry struct {
	Session
	gen    int // tells a watch of an earlier process from the present one
	cancel func()
}

// Open makes a registry and takes up the sessions that an earlier daemon saved, as far as their processes still live.
func Open(saved []byte, o Options) (*Registry, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Registry{o: o, watch: newWatcher(), sessions: map[string]*entry{}}
	var old []Session
	if len(saved) > 0 {
		if err := json.Unmarshal(saved, &old); err != nil {
			r.watch.close()
			return nil, fmt.Errorf("read saved sessions: %w", err)
		}
	}
	for _, s := range old {
		if Check(s.Process) != Dead {
			r.adopt(s)
		}
	}
	return r, nil
}

// Register binds a session to a process and returns it with its label.
//
// A known id on another process is a resumed session: it keeps everything but the process. A known process under another id is a session that was
// cleared: the old id ends, the new one takes over its label. Name asks for a label; without it the base of cwd is taken. A label
// that is in use gets a number.
func (r *Registry) Register(s Session, name string) (Session, error) {
	if s.ID == "" {
		return Session{}, fmt.Errorf("register session: no id")
	}
	if s.Process.PID <= 0 {
		return Session{}, fmt.Errorf("register session: no process")
	}
	if Check(s.Process) == Dead {
		return Session{}, fmt.Errorf("register session: process %d has ended", s.Process.PID)
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return Session{}, fmt.Errorf("register session: closed")
	}
	var replaced []Session
	for id, e := range r.sessions {
		if id != s.ID && samePlace(e.Process, s.Process) {
			if name == "" {
				s.Label = e.Label
			}
			replaced = append(replaced, e.Session)
			r.dropLocked(id)
		}
	}
	if known := r.sessions[s.ID]; known != nil {
		s = known.merged(s)
	} else {
		s.Registered = r.o.Now().UTC()
	}
	s.Active = r.o.Now().UTC()
	s.Label = r.freeLabelLocked(s.ID, cmp.Or(name, s.Label, filepath.Base(s.Cwd)))
	r.mu.Unlock()

	for _, old := range replaced {
		r.ended(old, ReasonReplaced)
	}
	r.adopt(s)
	r.save()
	return s, nil
}

// merged is what stays of a known session when it registers again.
func (e *entry) merged(s Session) Session {
	s.Registered = e.Registered
	s.Label = cmp.Or(s.Label, e.Label)
	s.Cwd = cmp.Or(s.Cwd, e.Cwd)
	s.Model = cmp.Or(s.Model, e.Model)
	s.Title = cmp.Or(s.Title, e.Title)
	s.Channel = cmp.Or(s.Channel, e.Channel)
	s.Status = cmp.Or(s.Status, e.Status)
	return s
}

// samePlace says whether two records are of the same process.
func samePlace(a, b Process) bool {
	return a.PID == b.PID && a.Boot == b.Boot && (a.Start == b.Start || a.Start == 0 || b.Start == 0) && (a.Inode == b.Inode || a.Inode == 0 || b.Inode == 0)
}

// adopt enters s and watches its process.
func (r *Registry) adopt(s Session) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	gen := 1
	if old := r.sessions[s.ID]; old != nil {
		gen = old.gen + 1
		old.cancel()
	}
	e := &entry{Session: s, gen: gen, cancel: func() {}}
	r.sessions[s.ID] = e
	r.mu.Unlock()

	r.calls.Lock()
	if r.o.OnStart != nil {
		r.o.OnStart(s)
	}
	r.calls.Unlock()

	cancel, told := r.watch.add(s.Process, func() { r.processEnded(s.ID, gen) })
	if !told {
		r.o.Logger.Debug("process not watchable, sweeping instead", "session", s.ID, "pid", s.Process.PID)
	}
	r.mu.Lock()
	if r.sessions[s.ID] == e {
		e.cancel = cancel
	} else {
		defer cancel()
	}
	r.mu.Unlock()
}

// processEnded drops the session unless it has moved to another process meanwhile.
func (r *Registry) processEnded(id string, gen int) {
	r.mu.Lock()
	e := r.sessions[id]
	if e == nil || e.gen != gen {
		r.mu.Unlock()
		return
	}
	r.dropLocked(id)
	r.mu.Unlock()
	r.ended(e.Session, ReasonExited)
	r.save()
}

// End ends a session that said goodbye. An unknown id is no error: it has ended already.
func (r *Registry) End(id string) {
	r.mu.Lock()
	e := r.sessions[id]
	if e != nil {
		r.dropLocked(id)
	}
	r.mu.Unlock()
	if e != nil {
		r.ended(e.Session, ReasonEnded)
		r.save()
	}
}

// Update changes what is known of a session, all but its id, label and process. False: there is no such session.
func (r *Registry) Update(id string, change func(*Session)) (Session, bool) {
	r.mu.Lock()
	e := r.sessions[id]
	if e == nil {
		r.mu.Unlock()
		return Session{}, false
	}
	s := e.Session
	change(&s)
	s.ID, s.Label, s.Process = e.ID, e.Label, e.Process
	e.Session = s
	r.mu.Unlock()
	r.save()
	return s, true
}

// Get returns the session with this id.
func (r *Registry) Get(id string) (Session, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.sessions[id]; e != nil {
		return e.Session, true
	}
	return Session{}, false
}

// Live returns all live sessions, oldest first.
func (r *Registry) Live() []Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Session, 0, len(r.sessions))
	for _, e := range r.sessions {
		all = append(all, e.Session)
	}
	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(a.Registered.Compare(b.Registered), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Run sweeps every five seconds until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	tick := time.NewTicker(SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.Sweep()
		}
	}
}

// Sweep ends every session whose process is gone or was replaced by another. What cannot be read now stays until the next sweep.
func (r *Registry) Sweep() {
	r.mu.Lock()
	type probe struct {
		id  string
		gen int
		p   Process
	}
	probes := make([]probe, 0, len(r.sessions))
	for id, e := range r.sessions {
		probes = append(probes, probe{id, e.gen, e.Process})
	}
	r.mu.Unlock()
	for _, p := range probes {
		if Check(p.p) == Dead {
			r.processEnded(p.id, p.gen)
		}
	}
}

// Close stops watching and waits for the watcher. The sessions stay in the saved table: the next daemon takes them up.
func (r *Registry) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.watch.close()
}

func (r *Registry) dropLocked(id string) {
	e := r.sessions[id]
	delete(r.sessions, id)
	e.cancel()
}

func (r *Registry) ended(s Session, reason string) {
	r.o.Logger.Info("session ended", "session", s.ID, "label", s.Label, "pid", s.Process.PID, "reason", reason)
	r.calls.Lock()
	defer r.calls.Unlock()
	if r.o.OnEnd != nil {
		r.o.OnEnd(s, reason)
	}
}

func (r *Registry) save() {
	if r.o.Save == nil {
		return
	}
	r.calls.Lock() // an older table must not overwrite a newer one
	defer r.calls.Unlock()
	b, err := json.Marshal(r.Live())
	if err == nil {
		err = r.o.Save(b)
	}
	if err != nil {
		r.o.Logger.Error("sessions not saved", "err", err)
	}
}

// freeLabelLocked makes a label of the wanted name that no other live session has.
func (r *Registry) freeLabelLocked(id, want string) string {
	base := Label(want)
	for n := 1; ; n++ {
		label := base
		if n > 1 {
			suffix := "-" + strconv.Itoa(n)
			label = base[:min(len(base), 32-len(suffix))] + suffix
		}
		taken := false
		for other, e := range r.sessions {
			taken = taken || other != id && e.Label == label
		}
		if !taken {
			return label
		}
	}
}

// Label makes a valid label ([a-z0-9][a-z0-9._-]{0,31}) of any text, "session" of nothing.
func Label(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() == 0: // the first must be a letter or digit
		case c == '.' || c == '_':
			b.WriteRune(c)
		default:
			if !strings.HasSuffix(b.String(), "-") {
				b.WriteByte('-')
			}
		}
		if b.Len() == 32 {
			break
		}
	}
	if label := strings.TrimRight(b.String(), "-._"); label != "" {
		return label
	}
	return "session"
}
