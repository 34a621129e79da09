package recall

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/recall/recalltest"
	"github.com/claudemesh/claudemesh/recall/source"
)

// RECALL_BENCH_MB sets the size of the transcripts; 1024 is what docs/performance.md quotes.
func benchSize() int64 {
	if mb, err := strconv.ParseInt(os.Getenv("RECALL_BENCH_MB"), 10, 64); err == nil {
		return mb << 20
	}
	return 24 << 20
}

func generated(b *testing.B) (*Memory, recalltest.Corpus) {
	b.Helper()
	dir := b.TempDir()
	projects := filepath.Join(dir, "projects")
	corpus, err := recalltest.Generate(projects, benchSize(), 1)
	if err != nil {
		b.Fatal(err)
	}
	m, err := Open(filepath.Join(dir, "recall.db"), Options{Sources: []source.Source{source.Claude{Dir: projects}},
		Now: func() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	return m, corpus
}

// BenchmarkIndex reads all transcripts into an empty memory.
func BenchmarkIndex(b *testing.B) {
	for b.Loop() {
		m, corpus := generated(b)
		began := time.Now()
		if err := m.Sweep(context.Background()); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		s, err := m.Stats(context.Background())
		if err != nil || s.Episodes != corpus.Episodes {
			b.Fatalf("%d of %d episodes, %v", s.Episodes, corpus.Episodes, err)
		}
		b.ReportMetric(float64(corpus.Bytes)/took.Seconds()/1e6, "MB/s")
		b.ReportMetric(float64(s.Bytes)/float64(corpus.Bytes), "index/transcripts")
		b.ReportMetric(float64(s.Episodes), "episodes")
	}
}

// BenchmarkSearch asks with the words of a prompt, and reports the median and the slowest hundredth.
func BenchmarkSearch(b *testing.B) {
	m, corpus := generated(b)
	if err := m.Sweep(context.Background()); err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	found, n := 0, 0
	for b.Loop() {
		item := corpus.Known[n%len(corpus.Known)]
		n++
		began := time.Now()
		hits, err := m.Search(context.Background(), Query{Text: item.Question})
		times = append(times, time.Since(began))
		if err != nil {
			b.Fatal(err)
		}
		if len(hits) > 0 && hits[0].Session == item.Session {
			found++
		}
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(found)/float64(n), "hit@1")
}
