package inbox

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/store"
)

// What the inbox keeps of what somebody saw. What nobody saw yet was acknowledged, and stays: quotas decide before.
const (
	seenKept    = 90 * 24 * time.Hour  // messages that were read or shown
	anyKept     = 365 * 24 * time.Hour // all others, alarms included
	seenBytes   = 256 << 20            // of messages that were read or shown; beyond that the oldest go earlier
	sweptAtOnce = 500                  // rows deleted in one transaction, so that nobody waits long for the next
	inboxSweeps = time.Hour
	sweepGrowth = 64 << 20 // bytes that came since the last sweep after which the next comes at once

	settledLooks = time.Minute // between looks whether the clock is settled
)

// Run forgets, until ctx ends, what the inbox need not keep, while settled says that the clock is fit for that.
func (b *Mailbox) Run(ctx context.Context, log *slog.Logger, settled func() bool) {
	tick := time.NewTicker(settledLooks)
	defer tick.Stop()
	var next time.Time
	for {
		if settled() && !next.After(time.Now()) {
			next = time.Now().Add(inboxSweeps)
			b.sweepNow(log)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-b.grew:
			next = time.Time{} // much came: as soon as the clock allows
		}
	}
}

func (b *Mailbox) sweepNow(log *slog.Logger) {
	n, err := b.sweep(seenBytes)
	if err != nil {
		log.Warn("inbox not swept", "err", err)
	} else if n > 0 {
		log.Info("old messages deleted", "messages", n)
	}
}

// sweep deletes what is too old, and of what was seen the oldest beyond mostSeen bytes. It returns how many.
func (b *Mailbox) sweep(mostSeen int) (count int, err error) {
	b.grown.Store(0)
	old, err := b.tooOld(mostSeen)
	if err != nil {
		return 0, fmt.Errorf("look for old messages: %w", err)
	}
	for len(old) > 0 {
		some := old[:min(len(old), sweptAtOnce)]
		old = old[len(some):]
		n := 0
		err := b.db.Commit(func(tx *store.Tx) (err error) {
			rows := make(map[uint64]*Row)
			for _, seq := range some {
				if row := b.Row(tx, table.U64(seq)); row != nil {
					rows[seq] = row
				}
			}
			n, err = b.remove(tx, rows)
			return err
		})
		if count += n; err != nil {
			return count, err
		}
	}
	return count, nil
}

// tooOld lists the numbers of the rows to delete, newest first.
func (b *Mailbox) tooOld(mostSeen int) (old []uint64, err error) {
	now, bytes := b.now(), 0
	seenLimit, anyLimit := now.Add(-seenKept).UnixMilli(), now.Add(-anyKept).UnixMilli()
	err = b.db.View(func(tx *store.Tx) error {
		for k, v := range tx.ScanBack(table.Inbox, nil, nil) {
			row := b.decode(k, v)
			if row.damaged {
				continue // until somebody deletes it
			}
			seen := row.Read != 0 || len(row.Seen) > 0
			if seen {
				bytes += len(v)
			}
			if row.Received < anyLimit || seen && (row.Received < seenLimit || bytes > mostSeen) {
				old = append(old, table.ParseU64(k))
			}
		}
		return nil
	})
	return old, err
}
