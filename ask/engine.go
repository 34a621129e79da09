package ask

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/store"
)

// Kinds of envelopes that an Engine sends and takes. None of them is shown to a session.
const (
	KindAsk    = "ask"
	KindBid    = "bid"
	KindFetch  = "fetch"
	KindAnswer = "answer"
	KindLate   = "" // an answer for a session that does not wait any more: ordinary mail
)

// Incoming is a message of one of these kinds from a verified member, opened and checked.
type Incoming struct {
	Mesh    string // mesh id
	Member  string // key of who answers for it
	From    string // key that sealed it: of a session, or the member's
	ID      string
	Kind    string
	ReplyTo string
	Body    []byte
}

// Person is somebody who was asked.
type Person struct {
	Key, Name string
	Online    bool
}

// Host is what an Engine needs of the daemon.
type Host interface {
	// Send accepts a message to "*", "@group" or a key (64 hex). It returns the id of the message and
	// who gets it.
	Send(ctx context.Context, mesh, to, kind, replyTo, session string, body []byte) (id string, people []Person, err error)
	// Asker says who a member is now. It returns false for one who is not verified.
	Asker(mesh, member string) (Asker, bool)
	// Notice tells the person something, in the event stream.
	Notice(mesh, text string)
	// Search searches this machine's memory.
	Search(ctx context.Context, q recall.Query) ([]recall.Hit, error)
	// Episode returns an episode of the memory; false when it is gone.
	Episode(ctx context.Context, id int64) (recall.Hit, bool, error)
	// Redact removes secrets, and what identifies this machine, from a text that is about to leave.
	Redact(text string) string
}

// Composer writes an answer from episodes with a model. It costs money.
type Composer interface {
	// Compose answers question from the given texts alone, in at most most bytes. cost is in dollars.
	Compose(ctx context.Context, question string, episodes []string, most int) (text string, cost float64, err error)
}

// Config of an engine.
type Config struct {
	DB       *store.DB
	Host     Host
	Composer Composer // nil: nothing is composed
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
	Limits   Limits
}

// Limits of what this machine answers. Zero values mean the defaults.
type Limits struct {
	PerMinute int     // questions of one asker
	PerDay    int     // questions of one asker
	AllPerDay int     // questions of everybody
	Composed  int     // composed answers in a day
	Budget    float64 // dollars for them in a day

	DayBytes     int // of answers that one person gets in a day
	MonthBytes   int // and in 30 days
	ComposedEach int // composed answers that one person gets in a day
	AsksPerDay   int // questions of this machine's user

	ComposeTime time.Duration // for one composed answer
}

func (l Limits) withDefaults() Limits {
	set := func(to *int, value int) {
		if *to == 0 {
			*to = value
		}
	}
	set(&l.PerMinute, 6)
	set(&l.PerDay, 100)
	set(&l.AllPerDay, 1000)
	set(&l.Composed, 20)
	set(&l.DayBytes, 8<<10)
	set(&l.MonthBytes, 64<<10)
	set(&l.ComposedEach, 3)
	set(&l.AsksPerDay, 60)
	l.Budget = cmp.Or(l.Budget, 1)
	l.ComposeTime = cmp.Or(l.ComposeTime, 90*time.Second)
	return l
}

// Engine asks and answers for all meshes of a daemon. Its methods may be called from any goroutine.
type Engine struct {
	// fixed at construction
	db       *store.DB
	host     Host
	composer Composer
	log      *slog.Logger
	now      func() time.Time
	limits   Limits
	pause    func(ctx context.Context) // before a bid

	wake chan struct{} // one slot: something is queued

	asking sync.Mutex // held from the sending of a question until it is kept; bids wait for it

	mu      sync.Mutex
	open    map[string]*pending // questions of ours that somebody waits for, by id
	counts  counts
	busy    sync.WaitGroup
	working chan struct{} // one slot: one composed answer at a time
}

// New returns an engine. Run must run for anything to be answered.
func New(c Config) *Engine {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{
		db: c.DB, host: c.Host, composer: c.Composer, log: c.Log, now: c.Now, limits: c.Limits.withDefaults(), pause: pauseBeforeBid,
		wake: make(chan struct{}, 1), open: map[string]*pending{}, working: make(chan struct{}, 1),
	}
}

// Wake tells that Queue put something into the store and that its transaction was committed.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

const sweepEvery = 15 * time.Minute

// Run answers what is queued until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	defer e.busy.Wait()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		if err := e.drain(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("questions not answered", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-sweep.C:
			if err := e.sweep(); err != nil {
				e.log.Warn("old questions not removed", "err", err)
			}
		}
	}
}

// drain handles what is queued, in order. A row goes after it was handled, so a crash repeats it at most.
func (e *Engine) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		key, in, err := e.next()
		if err != nil || key == nil {
			return err
		}
		if in != nil {
			e.handle(ctx, in)
		}
		if err := e.db.Update(func(tx *store.Tx) error { return tx.Delete(Bucket, key) }); err != nil {
			return err
		}
	}
	return nil
}

// handle takes one message. What is malformed or not allowed ends here, and is logged.
func (e *Engine) handle(ctx context.Context, in *Incoming) {
	var err error
	switch in.Kind {
	case KindAsk:
		err = e.takeQuestion(ctx, in)
	case KindBid:
		err = e.takeBid(ctx, in)
	case KindFetch:
		err = e.takeFetch(ctx, in)
	case KindAnswer:
		err = e.takeAnswer(in)
	}
	if err != nil {
		e.log.Info("memory message dropped", "kind", in.Kind, "mesh", in.Mesh, "peer", in.Member, "msg", in.ID, "err", err)
	}
}

// pauseBeforeBid spreads bids over half a second. When one comes tells nothing about how good it is.
func pauseBeforeBid(ctx context.Context) {
	select {
	case <-time.After(time.Duration(rand.Float64() * float64(maxPause))):
	case <-ctx.Done():
	}
}

const maxPause = 500 * time.Millisecond

// counts bounds what this machine answers. It is guarded by Engine.mu.
type counts struct {
	day    int64
	all    int
	asked  int // by this machine's user
	askers map[string]*askerCount
}

type askerCount struct {
	today  int
	recent []time.Time // within the last minute
}

// allow counts a question of an asker and reports whether it is answered.
func (e *Engine) allow(member string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	e.newDayLocked(now)
	a := e.counts.askers[member]
	if a == nil {
		a = &askerCount{}
		e.counts.askers[member] = a
	}
	for len(a.recent) > 0 && now.Sub(a.recent[0]) > time.Minute {
		a.recent = a.recent[1:]
	}
	if len(a.recent) >= e.limits.PerMinute || a.today >= e.limits.PerDay || e.counts.all >= e.limits.AllPerDay {
		return false
	}
	a.recent = append(a.recent, now)
	a.today++
	e.counts.all++
	return true
}

// allowOwn counts a question of this machine's user and reports whether it is sent.
func (e *Engine) allowOwn() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.newDayLocked(e.now())
	if e.counts.asked >= e.limits.AsksPerDay {
		return false
	}
	e.counts.asked++
	return true
}

func (e *Engine) newDayLocked(now time.Time) {
	if day := now.Unix() / 86400; day != e.counts.day || e.counts.askers == nil {
		e.counts = counts{day: day, askers: map[string]*askerCount{}}
	}
}
