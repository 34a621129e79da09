package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/store/storetest"
)

// openTest returns a Disk on a simulated disk.
func openTest(t testing.TB, disk *storetest.Disk, o Options) *Disk {
	t.Helper()
	db, err := store.Open(t.TempDir()+"/broker.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o.FS = disk
	if o.FlushEvery == 0 {
		o.FlushEvery = never
	}
	q, err := Open(db, "/journal", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(q.Close(), db.Check(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return q
}

// mustPut waits for the commit.
func mustPut(t testing.TB, q *Disk, m Message) uint64 {
	t.Helper()
	type answer struct {
		lsn uint64
		err error
	}
	c := make(chan answer, 1)
	q.Put(m, func(lsn uint64, err error) { c <- answer{lsn, err} })
	a := <-c
	if a.err != nil {
		t.Fatal(a.err)
	}
	return a.lsn
}

func direct(to Recipient, header, body string) Message {
	return Message{To: []Recipient{to}, Headers: [][]byte{[]byte(header)}, Body: []byte(body)}
}

// TestStress has senders, readers that acknowledge as the broker does, and an
// endless flush beside them. Every reader must see each sender's messages once
// and in order, and be woken for the last one.
func TestStress(t *testing.T) {
	const senders, readers, each = 6, 3, 400
	q := openTest(t, storetest.NewDisk(), Options{SegmentSize: 4000, MemoryLimit: 4000, JournalLimit: 20000})
	var people []Recipient
	for i := range readers {
		people = append(people, Recipient{byte(i)})
	}
	var all sync.WaitGroup
	stop, flushed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(flushed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := q.Flush(); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range readers {
		all.Go(func() {
			if err := readAll(q, people[i], senders*each, i%2 == 0); err != nil {
				t.Error(err)
			}
		})
	}
	for s := range senders {
		all.Go(func() {
			for n := range each {
				id := binary.BigEndian.AppendUint32([]byte{byte(s)}, uint32(n))
				q.Put(Message{To: people, Headers: [][]byte{id, id, id}, Body: make([]byte, 50)}, nil)
			}
		})
	}
	all.Wait()
	close(stop)
	<-flushed
	if s := q.Stats(); s.Messages != 0 || s.Memory != 0 {
		t.Errorf("all is acknowledged, but %+v", s)
	}
}

// readAll reads until it has seen count messages, in a window of unacknowledged
// ones; backwards acknowledges a page from its end.
func readAll(q *Disk, to Recipient, count int, backwards bool) error {
	wake := make(chan struct{}, 1)
	defer q.Subscribe(to, func() { signal(wake) })()
	next := map[byte]uint32{}
	var after uint64
	for seen := 0; seen < count; {
		rows, err := q.Pull(to, Now, after, 16, 700)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			<-wake
			continue
		}
		for _, r := range rows {
			s, n := r.Header[0], binary.BigEndian.Uint32(r.Header[1:])
			if r.LSN <= after || n != next[s] || len(r.Body) != 50 {
				return fmt.Errorf("%d: got %d of sender %d at %d; want %d behind %d", to[0], n, s, r.LSN, next[s], after)
			}
			after, next[s] = r.LSN, n+1
			seen++
		}
		for i := range rows {
			if backwards {
				i = len(rows) - 1 - i
			}
			if there, err := q.Ack(to, Now, rows[i].LSN); err != nil || !there {
				return fmt.Errorf("ack of %d: %v, %w", rows[i].LSN, there, err)
			}
			if there, err := q.Ack(to, Now, rows[i].LSN); err != nil || there {
				return fmt.Errorf("second ack of %d: %v, %w", rows[i].LSN, there, err)
			}
		}
	}
	// Nothing acknowledged comes back, wherever it lies by now.
	if rows, err := q.Pull(to, Now, 0, 10, 0); err != nil || len(rows) != 0 {
		return fmt.Errorf("%d rows came back: %v", len(rows), err)
	}
	return nil
}
