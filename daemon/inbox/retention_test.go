package inbox

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Bob keeps what he has not seen for a year and what he has for three months; of that no more than fits.
func TestInboxRetention(t *testing.T) {
	home, err := config.OpenHome(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db, err := table.Open(home.DBFile())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := NewMailbox(db, func() time.Time { return now }, slog.New(slog.DiscardHandler), nil)
	const day, most = 24 * time.Hour, 1 << 20
	add := func(id string, age time.Duration, seen bool, size int) {
		t.Helper()
		row := &Row{MessageID: id, Received: now.Add(-age).UnixMilli(), Alarm: "a row without a message", Name: strings.Repeat("x", size)}
		if seen {
			row.Seen = []Sight{{Label: "api", Shown: row.Received}}
		}
		if err := db.Update(func(tx *store.Tx) error { _, err := b.Add(tx, row); return err }); err != nil {
			t.Fatal(err)
		}
	}
	add("unseen-ancient", anyKept+day, false, 0)
	add("unseen-old", anyKept-day, false, 0)
	add("seen-old", seenKept+day, true, 0)
	add("seen-large-1", 3*day, true, most/2)
	add("seen-large-2", 2*day, true, most/2)
	add("seen-new", day, true, 0)
	left := func() (ids []string) {
		page, err := b.Page(protocol.InboxQuery{All: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			ids = append(ids, m.MessageID)
		}
		return ids
	}
	n, err := b.sweep(most)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"seen-new", "seen-large-2", "unseen-old"}; n != 3 || !slices.Equal(left(), want) {
		t.Errorf("%d forgotten, left %v, want %v", n, left(), want)
	}
	if n, err := b.sweep(most); n != 0 || err != nil {
		t.Errorf("a second sweep forgot %d, %v", n, err)
	}
}

// A session that reads all that comes, and somebody who sends much: the sweep does not wait for its hour.
func TestMuchIsSweptAtOnce(t *testing.T) {
	db, err := table.Open(t.TempDir() + "/daemon.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := NewMailbox(db, time.Now, slog.New(slog.DiscardHandler), nil)
	due := func() bool {
		select {
		case <-b.grew:
			return true
		default:
			return false
		}
	}
	grow := func(bytes int) {
		t.Helper()
		row := &Row{MessageID: "m", Message: make([]byte, bytes-RowBytes), Alarm: "a row"}
		if err := db.Update(func(tx *store.Tx) error { _, err := b.Add(tx, row); return err }); err != nil {
			t.Fatal(err)
		}
	}
	grow(sweepGrowth)
	if due() {
		t.Error("at the limit")
	}
	grow(RowBytes)
	if !due() {
		t.Error("one past the limit nothing is swept")
	}
	if _, err := b.sweep(1 << 20); err != nil {
		t.Fatal(err)
	}
	grow(RowBytes)
	if due() {
		t.Error("the sweep is forgotten at once")
	}
}
