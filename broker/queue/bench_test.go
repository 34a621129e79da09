package queue

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/store"
)

// openReal returns a Disk on the file system of the test's directory.
func openReal(b *testing.B, o Options) *Disk {
	dir := b.TempDir()
	db, err := store.Open(dir+"/broker.db", store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	q, err := Open(db, dir+"/journal", o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := q.Close(); err != nil {
			b.Error(err)
		}
		db.Close()
	})
	return q
}

func people(n int) []Recipient {
	all := make([]Recipient, n)
	for i := range all {
		all[i] = Recipient{byte(i), byte(i >> 8)}
	}
	return all
}

// BenchmarkPutPullAck is the life of a message: 100 producers with a window of
// 64 each, 100 recipients that pull and acknowledge when woken.
func BenchmarkPutPullAck(b *testing.B) {
	q := openReal(b, Options{})
	const peers = 100
	who := people(peers)
	header, body := make([]byte, 150), make([]byte, 300)
	each := b.N/peers + 1
	var latest sync.Mutex
	var delays []time.Duration
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for i := range peers {
		wake := make(chan struct{}, 1)
		cancel := q.Subscribe(who[i], func() { signal(wake) })
		all.Go(func() {
			defer cancel()
			var after uint64
			for seen := 0; seen < each; {
				rows, err := q.Pull(who[i], Now, after, 256, 1<<20)
				if err != nil {
					b.Error(err)
					return
				}
				if len(rows) == 0 {
					<-wake
				}
				for _, r := range rows {
					q.Ack(who[i], Now, r.LSN)
					after = r.LSN
				}
				seen += len(rows)
			}
		})
		all.Go(func() {
			window := make(chan struct{}, 64)
			own := make([]time.Duration, 0, each/64+1)
			headers := [][]byte{header}
			for n := range each {
				window <- struct{}{}
				var began time.Time
				if n%64 == 0 {
					began = time.Now()
				}
				k := (i + n) % peers
				q.Put(Message{To: who[k : k+1], Headers: headers, Body: body}, func(uint64, error) {
					if !began.IsZero() {
						own = append(own, time.Since(began))
					}
					<-window
				})
			}
			for range cap(window) {
				window <- struct{}{}
			}
			latest.Lock()
			delays = append(delays, own...)
			latest.Unlock()
		})
	}
	all.Wait()
	b.StopTimer()
	report(b, q, delays)
}

func report(b *testing.B, q *Disk, delays []time.Duration) {
	slices.Sort(delays)
	if len(delays) > 0 {
		b.ReportMetric(float64(delays[len(delays)*99/100].Microseconds()), "p99-µs")
	}
	s := q.Stats()
	b.ReportMetric(float64(s.Accepted)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(s.Accepted)/float64(s.Commits), "msg/commit")
}

// BenchmarkSteady sends 2,000 messages a second and reports how long each
// waits for its commit.
func BenchmarkSteady(b *testing.B) {
	q := openReal(b, Options{})
	who := people(100)
	delays := make([]time.Duration, b.N)
	headers, body := [][]byte{make([]byte, 150)}, make([]byte, 300)
	var all sync.WaitGroup
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := 0; b.Loop(); n++ {
		if n%4 == 0 {
			<-tick.C
		}
		all.Add(1)
		began, k := time.Now(), n%len(who)
		q.Put(Message{To: who[k : k+1], Headers: headers, Body: body}, func(lsn uint64, _ error) {
			delays[n%len(delays)] = time.Since(began)
			all.Done()
			go q.Ack(who[k], Now, lsn)
		})
	}
	all.Wait()
	report(b, q, delays)
}

// BenchmarkCommit is one Put at a time: the bare path to the disk and back.
func BenchmarkCommit(b *testing.B) {
	q := openReal(b, Options{})
	bob := people(1)
	headers, body := [][]byte{make([]byte, 150)}, make([]byte, 300)
	done := make(chan uint64, 1)
	b.ReportAllocs()
	for b.Loop() {
		q.Put(Message{To: bob, Headers: headers, Body: body}, func(lsn uint64, _ error) { done <- lsn })
		q.Ack(bob[0], Now, <-done)
	}
}

// BenchmarkNobodyAcks has everything go to the DB.
func BenchmarkNobodyAcks(b *testing.B) {
	q := openReal(b, Options{})
	who := people(1000)
	headers, body := [][]byte{make([]byte, 150)}, make([]byte, 300)
	window := make(chan struct{}, 4096)
	for n := 0; b.Loop(); n++ {
		window <- struct{}{}
		k := n % len(who)
		q.Put(Message{To: who[k : k+1], Headers: headers, Body: body}, func(uint64, error) { <-window })
	}
	if err := q.Flush(); err != nil {
		b.Fatal(err)
	}
	report(b, q, nil)
}

// BenchmarkDrain pulls and acknowledges ten thousand rows that wait in the DB.
func BenchmarkDrain(b *testing.B) {
	const rows = 10_000
	for b.Loop() {
		b.StopTimer()
		q := openReal(b, Options{})
		bob := people(1)
		var left atomic.Int64
		left.Store(rows)
		done := make(chan struct{})
		for n := range rows {
			q.Put(direct(bob[0], fmt.Sprint(n), string(make([]byte, 400))), func(uint64, error) {
				if left.Add(-1) == 0 {
					close(done)
				}
			})
		}
		<-done
		if err := q.Flush(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		var after uint64
		for seen := 0; seen < rows; {
			page, err := q.Pull(bob[0], Now, after, 256, 1<<20)
			if err != nil || len(page) == 0 {
				b.Fatal(len(page), err)
			}
			for _, r := range page {
				q.Ack(bob[0], Now, r.LSN)
				after = r.LSN
			}
			seen += len(page)
		}
	}
}
