package cli

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	collectorRoom  = 24 << 20 // bytes above what lives, before the collector runs
	collectorLeast = 25       // percent of what lives: a large broker would only collect
	collectorMost  = 300
)

// keepSmall has the collector leave a broker the same room whether much lives or little. Who sets GOGC decides himself. It is for the
// whole life of the process.
func keepSmall() {
	if os.Getenv("GOGC") == "" {
		tuneCollector(0)
	}
}

// tuneCollector sets how much may be allocated until the next collection, and runs again after that. Percent is what is set now.
func tuneCollector(percent int) {
	if p := collectorPercent(readMetric("/gc/heap/live:bytes")); p != percent {
		percent = p
		debug.SetGCPercent(percent)
	}
	runtime.AddCleanup(new(collected), tuneCollector, percent)
}

// collected is garbage from the beginning. It is too large to share a block with something that lives.
type collected [16]*byte

// collectorPercent is GOGC for so many bytes that live, in steps: a change stops the world for a moment.
func collectorPercent(live uint64) int {
	const step = 5
	percent := collectorRoom * 100 / max(live, 1) / step * step
	return int(min(max(percent, collectorLeast), collectorMost))
}

func readMetric(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
