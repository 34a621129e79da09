package cli

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	collectorRoom  = 24 << 20 // bytes above what lives, before the collector runs
	collectorQuiet = 4 << 20  // the same, while hardly anything is allocated
	collectorLeast = 25       // percent of what lives, with all that room: a large broker would only collect
	collectorMost  = 300

	collectorPace = 4 * time.Second // the room is what is allocated in that time, within these bounds
	quietAfter    = 5 * time.Second // without a collection
)

// collector has the garbage collector leave a broker the same room whether much lives or little, and less of it when there is little
// to do; what a busy time took goes back to the system then.
type collector struct {
	mu      sync.Mutex
	percent int       // GOGC as it is set
	last    time.Time // collection
	allocs  uint64    // bytes ever allocated, at the last collection
	quiet   *time.Timer
}

// keepSmall is for the whole life of the process. Who sets GOGC decides himself.
func keepSmall() {
	if os.Getenv("GOGC") != "" {
		return
	}
	c := new(collector)
	c.quiet = time.AfterFunc(quietAfter, debug.FreeOSMemory) // which collects, and so leaves little room
	c.tune(struct{}{})
}

// tune runs after each collection.
func (c *collector) tune(struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, allocs := time.Now(), readMetric("/gc/heap/allocs:bytes")
	room := collectorRoomFor(allocs-c.allocs, now.Sub(c.last))
	c.last, c.allocs = now, allocs
	if p := collectorPercent(readMetric("/gc/heap/live:bytes"), room); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
	if room > collectorQuiet {
		c.quiet.Reset(quietAfter)
	}
	runtime.AddCleanup(new(collected), c.tune, struct{}{})
}

// collected is garbage from the beginning. It is too large to share a block with something that lives.
type collected [16]*byte

// collectorRoomFor is the room when so many bytes were allocated in that time.
func collectorRoomFor(allocs uint64, in time.Duration) uint64 {
	pace := float64(allocs) / max(in, time.Millisecond).Seconds() * collectorPace.Seconds()
	return uint64(min(max(pace, collectorQuiet), collectorRoom))
}

// collectorPercent is GOGC for so many bytes that live and so many of room, in steps: a change stops the world for a moment.
func collectorPercent(live, room uint64) int {
	const step = 5
	percent := room * 100 / max(live, 1) / step * step
	least := max(collectorLeast*room/collectorRoom, step)
	return int(min(max(percent, least), collectorMost))
}

func readMetric(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
