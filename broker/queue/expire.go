package queue

import (
	"context"
	"math"
)

// A walk over a queue reads it in pages, so that a deep one costs no memory.
const (
	pageRows  = 256
	pageBytes = 1 << 20
)

// Expire implements Queue. It looks into those queues only where something may
// have expired. A row is first taken out in memory, so that it is either
// acknowledged or expired; then expired is called; then the removal is
// recorded: after a crash in between it expires again.
func (d *Disk) Expire(ctx context.Context, spare func(Row) bool, expired func(Recipient, Row)) (int, error) {
	now := d.now().UnixMilli()
	n := 0
	for q := range d.all() {
		q.mu.Lock()
		due := q.expires <= now && !q.gone
		if due {
			q.expires = math.MaxInt64 // rows that come meanwhile lower it
		}
		q.mu.Unlock()
		if !due {
			continue
		}
		removed, next, err := d.expireQueue(ctx, q.to, now, spare, expired)
		n += removed
		q.mu.Lock()
		q.noteExpiryLocked(next)
		q.mu.Unlock()
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// expireQueue returns the earliest expiry of the rows that stay.
func (d *Disk) expireQueue(ctx context.Context, to Recipient, now int64, spare func(Row) bool, expired func(Recipient, Row)) (n int, next int64, err error) {
	next = math.MaxInt64
	for class := range Class(classes) {
		var after uint64
		for {
			if err := ctx.Err(); err != nil {
				return n, now, err
			}
			rows, err := d.Pull(to, class, after, pageRows, pageBytes)
			if err != nil {
				return n, now, err
			}
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				after = r.LSN
				if r.Expires <= 0 {
					continue
				}
				if r.Expires > now || spare != nil && spare(r) {
					next = min(next, r.Expires)
					continue
				}
				there, err := d.remove(to, class, r.LSN)
				if err != nil {
					return n, now, err
				}
				if there {
					n++
					expired(to, r)
					d.logAck(to, class, r.LSN)
				}
			}
		}
	}
	return n, next, nil
}
