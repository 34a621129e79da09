package delivery

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Leases ties taken mail to the connection that took it. A process keeps its connection until it ends, so the end of the
// connection is the end of the process: what it took and said nothing of goes to the next rung, marked.
type Leases struct {
	wake chan struct{} // one slot: something is in lost

	mu   sync.Mutex
	open map[net.Conn]*lease
	lost []takenRow
}

// lease is what one connection took. It is guarded by leases.mu.
type lease struct {
	taken []takenRow
}

// takenRow is one message in the hands of one session.
type takenRow struct {
	seq     uint64 // number of the inbox row
	session string
	key     crypto.PublicKey
	at      int64 // of its inbox.Attempt, Unix ms
}

func newLeases() *Leases {
	return &Leases{wake: make(chan struct{}, 1), open: make(map[net.Conn]*lease)}
}

// leaseKey is where a request's context has its connection's lease.
type leaseKey struct{}

// Opened is http.Server's ConnContext.
func (l *Leases) Opened(ctx context.Context, c net.Conn) context.Context {
	mine := new(lease)
	l.mu.Lock()
	l.open[c] = mine
	l.mu.Unlock()
	return context.WithValue(ctx, leaseKey{}, mine)
}

// Changed is http.Server's ConnState.
func (l *Leases) Changed(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	l.mu.Lock()
	if ended := l.open[c]; ended != nil {
		l.lost = append(l.lost, ended.taken...)
	}
	delete(l.open, c)
	some := len(l.lost) > 0
	l.mu.Unlock()
	if some {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// took notes what a request was given. What was taken longer ago than TakenFor counts as given back anyway.
func (l *Leases) took(ctx context.Context, rows []takenRow) {
	mine, ok := ctx.Value(leaseKey{}).(*lease)
	if !ok || len(rows) == 0 {
		return
	}
	old := rows[0].at - TakenFor.Milliseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	mine.taken = append(slices.DeleteFunc(mine.taken, func(r takenRow) bool { return r.at < old }), rows...)
}

func (l *Leases) takeLost() []takenRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.lost
	l.lost = nil
	return lost
}

// WatchLeases gives mail back whose process ended, until ctx does. When the daemon stops nothing is given back: the
// processes live on and say to the next daemon what they did.
func (g *Dispatcher) WatchLeases(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.Leases.wake:
		}
		if ctx.Err() != nil {
			return
		}
		if err := g.giveBack(g.Leases.takeLost()); err != nil {
			g.d.Log.Warn("mail of an ended process not returned at once", "err", err)
		}
	}
}

// giveBack marks rows as lost that are still in the hands of a process that ended.
func (g *Dispatcher) giveBack(rows []takenRow) error {
	type source struct{ session, rung string }
	var from map[source]bool
	err := g.d.DB.Commit(func(tx *store.Tx) error {
		from = make(map[source]bool)
		for _, r := range rows {
			var row inbox.Waiting
			ok, err := table.GetJSON(tx, table.Waiting, table.U64(r.seq), &row)
			if err != nil {
				return err
			}
			mark := row.Given[r.key.String()]
			if !ok || mark.State != stateTaken || mark.At != r.at {
				continue
			}
			from[source{r.session, mark.Rung}] = true
			mark.State = stateLost
			row.Given[r.key.String()] = mark
			if err := table.PutJSON(tx, table.Waiting, table.U64(r.seq), row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give mail back: %w", err)
	}
	for s := range from {
		if s.rung != protocol.RungPull {
			g.Rungs.failed(s.session, s.rung)
		}
		g.gaveBack(s.session, s.rung)
	}
	return nil
}
