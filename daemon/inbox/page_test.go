package inbox

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// newTestMailbox is an inbox with rows "1" to "n", each with a text of its own size.
func newTestMailbox(t testing.TB, n int, size func(i int) int) *Mailbox {
	t.Helper()
	db, err := table.Open(t.TempDir() + "/daemon.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := NewMailbox(db, time.Now, slog.New(slog.DiscardHandler), func(*store.Tx, protocol.MeshID, []byte) error { return nil })
	for from := 0; from < n; from += 1000 {
		err := db.Update(func(tx *store.Tx) error {
			for i := from; i < min(from+1000, n); i++ {
				// An alarm is shown as it stands, so a row can be made without a seal; Name has the text's size.
				row := &Row{MessageID: fmt.Sprintf("message-%06d", i+1), Alarm: "a row without a message", Name: strings.Repeat("x", size(i)), Received: 1}
				if _, err := b.Add(tx, row); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// all follows the pages of a query to their end.
func all(t testing.TB, b *Mailbox, q protocol.InboxQuery) (ids []string, pages int) {
	t.Helper()
	for {
		page, err := b.Page(q, nil)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, m := range page.Messages {
			ids = append(ids, m.MessageID)
		}
		if q.Before = page.Next; q.Before == 0 {
			return ids, pages
		}
	}
}

// A page ends at each of its bounds, and the next goes on exactly behind it.
func TestPages(t *testing.T) {
	for _, c := range []struct{ rows, limit, pages int }{
		{0, 10, 1}, {10, 10, 1}, {11, 10, 2}, {pageMost, 1 << 20, 1}, {pageMost + 1, 1 << 20, 2}, {pageDefault, 0, 1}, {pageDefault + 1, 0, 2},
	} {
		b := newTestMailbox(t, c.rows, func(int) int { return 1 })
		ids, pages := all(t, b, protocol.InboxQuery{All: true, Limit: c.limit})
		if pages != c.pages || len(ids) != c.rows {
			t.Errorf("%d rows, %d at once: %d in %d pages, want %d", c.rows, c.limit, len(ids), pages, c.pages)
		}
		for i, id := range ids {
			if want := fmt.Sprintf("message-%06d", c.rows-i); id != want {
				t.Fatalf("%d rows, %d at once: number %d is %s, want %s", c.rows, c.limit, i, id, want)
			}
		}
	}
}

// What nobody asked for costs a page, too: one that looked at its share of rows ends, with nothing in it.
func TestPageLooksAtSoMany(t *testing.T) {
	b := newTestMailbox(t, pageLooks+1, func(int) int { return 0 })
	page, err := b.Page(protocol.InboxQuery{Mesh: "another", All: true}, nil)
	if err != nil || len(page.Messages) != 0 || page.Next != 2 {
		t.Errorf("%d messages, next %d, %v", len(page.Messages), page.Next, err)
	}
	if page, err = b.Page(protocol.InboxQuery{Mesh: "another", All: true, Before: page.Next}, nil); err != nil || page.Next != 0 {
		t.Errorf("the rest: next %d, %v", page.Next, err)
	}
}

// A page of a large inbox takes the memory of a page.
func TestPageTakesNoMemory(t *testing.T) {
	b := newTestMailbox(t, 3000, func(int) int { return 20_000 }) // 60 MB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	page, err := b.Page(protocol.InboxQuery{All: true, Limit: 1 << 30}, nil)
	runtime.ReadMemStats(&after)
	if err != nil || len(page.Messages) != pageMost {
		t.Fatalf("%d messages, %v", len(page.Messages), err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 60<<20 { // 500 rows, decoded and shown
		t.Errorf("%d MiB for one page", got>>20)
	}
	if text, err := json.Marshal(page); err != nil || page.Next == 0 {
		t.Errorf("%d bytes, %v, next %d", len(text), err, page.Next)
	}
}

// Whatever is done to all messages is done to each, in parts.
func TestChangesOfAll(t *testing.T) {
	const rows = 2*changedAtOnce + 1
	b := newTestMailbox(t, rows, func(i int) int { return i % 9000 })
	b.SetMesh("", "acme", false)
	if _, n, err := b.MarkRead(protocol.InboxChange{All: true}, nil, nil); n != rows || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, n, err := b.MarkRead(protocol.InboxChange{All: true}, nil, nil); n != 0 || err != nil {
		t.Errorf("read again %d, %v", n, err)
	}
	n, kept, err := b.Flush(protocol.InboxFlush{Before: time.UnixMilli(1)})
	if n != 0 || kept != 0 || err != nil {
		t.Errorf("flushed %d, kept %d, %v", n, kept, err)
	}
	if n, err := b.Delete(protocol.InboxChange{IDs: []string{"message-000001", "message-000777"}}, nil); n != 2 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if n, kept, err = b.Flush(protocol.InboxFlush{Before: time.UnixMilli(2)}); n != rows-2 || kept != 0 || err != nil {
		t.Errorf("flushed %d, kept %d, %v", n, kept, err)
	}
	if ids, _ := all(t, b, protocol.InboxQuery{All: true}); len(ids) != 0 {
		t.Errorf("%d are left", len(ids))
	}
}
