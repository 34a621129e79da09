package delivery

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	attendEvery = time.Second
	attendGrace = 10 * time.Second // from the event until the client's own word counts even if it is older than the event
)

// Attention finds out when a session no longer waits for its human. No hook tells that a permission was given or refused: the next event
// comes when the tool has run, or never. The client keeps its own status in a file of the session, and that is read meanwhile.
type Attention struct {
	d    *roster.Roster
	wake chan struct{}

	mu      sync.Mutex
	waiting map[string]attended // by the session's id
}

// attended is a session that waits for its human.
type attended struct {
	file  string // of the client; may be missing
	since time.Time
}

func NewAttention(d *roster.Roster) *Attention {
	return &Attention{d: d, wake: make(chan struct{}, 1), waiting: make(map[string]attended)}
}

// Begin follows a session from now on.
func (a *Attention) Begin(session, file string) {
	a.mu.Lock()
	a.waiting[session] = attended{file, a.d.Now()}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run looks while any session waits, until ctx ends.
func (a *Attention) Run(ctx context.Context) {
	for _, s := range a.d.Live.Live() { // those of the daemon before
		if s.Status == protocol.StatusWaiting {
			a.Begin(s.ID, "")
		}
	}
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	for {
		if !a.look() {
			tick.Stop()
			select {
			case <-a.wake:
				tick.Reset(attendEvery)
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look ends the waiting that is over, and says whether any is left.
func (a *Attention) look() bool {
	a.mu.Lock()
	all := make(map[string]attended, len(a.waiting))
	for id, w := range a.waiting {
		all[id] = w
	}
	a.mu.Unlock()
	left := false
	for id, w := range all {
		s, local, err := a.d.LiveSession(id)
		waits := err == nil && s.Status == protocol.StatusWaiting
		if waits {
			if now := w.status(a.d.Now()); now != protocol.StatusWaiting {
				a.d.SetStatus(a.d.Life, s, local, now)
				waits = false
			}
		}
		if waits {
			left = true
			continue
		}
		a.end(id, w)
	}
	return left
}

// end forgets a session unless it began to wait again meanwhile.
func (a *Attention) end(session string, w attended) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting[session] == w {
		delete(a.waiting, session)
	}
}

// status is what the client says, or, of a client that says nothing, waiting for as long as a turn may be silent.
func (w attended) status(now time.Time) string {
	said, at := clientStatus(w.file)
	switch waited := now.Sub(w.since); {
	case said == "" && waited > QuietFor:
		return protocol.StatusIdle
	case said == "", said != protocol.StatusWaiting && at.Before(w.since) && waited < attendGrace: // it has not opened its dialog yet
		return protocol.StatusWaiting
	}
	return said
}

// clientStatus reads what Claude Code says of a session in its own file (2.1.330 and 2.1.332), and since when; "" where it says nothing that is known.
func clientStatus(file string) (status string, since time.Time) {
	if file == "" {
		return "", since
	}
	f, err := os.Open(file)
	if err != nil {
		return "", since
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	var said struct {
		Status string `json:"status"`
		Since  int64  `json:"statusUpdatedAt"` // Unix ms
	}
	if err != nil || json.Unmarshal(b, &said) != nil {
		return "", since
	}
	status = map[string]string{"busy": protocol.StatusWorking, "idle": protocol.StatusIdle, "waiting": protocol.StatusWaiting}[said.Status]
	return status, protocol.TimeOf(said.Since)
}
