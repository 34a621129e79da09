package table

import (
	"log/slog"
	"sync"
)

// Damage is for readers of many rows: a row that cannot be decoded is passed over, and must not keep them
// from the others. It logs each such row once.
type Damage struct {
	log *slog.Logger

	mu   sync.Mutex
	seen map[string]bool // bucket 00 key
}

// NewDamage returns a Damage that logs to log.
func NewDamage(log *slog.Logger) *Damage { return &Damage{log: log, seen: make(map[string]bool)} }

// Skip reports whether a row is to be passed over: err is what its decoding said.
func (d *Damage) Skip(bucket string, key []byte, err error) bool {
	if err == nil {
		return false
	}
	d.mu.Lock()
	name := bucket + "\x00" + string(key)
	first := !d.seen[name]
	d.seen[name] = true
	d.mu.Unlock()
	if first {
		d.log.Error("damaged row", "bucket", bucket, "key", key, "err", err)
	}
	return true
}
