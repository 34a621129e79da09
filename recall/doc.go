// Package recall is a memory of what this machine's agent sessions learned.
//
// It reads the recordings that clients leave (package source), takes secrets out (package redact),
// and keeps what remains in a full-text index that answers in milliseconds:
//
//	transcript ─▶ source.Read ─▶ redact ─▶ recall.db ─▶ Search ─▶ hits, best first
//	                episodes                 SQLite FTS5            rank: rare words first
//
// The index outlives the recordings, which clients delete after some weeks. Text is redacted before it
// is stored. Sessions and episodes that the user excluded, declared private or forgot are removed
// and are not indexed again.
//
// One process uses a Memory. Several goroutines may call its methods. One goroutine writes at a time
// (guarded by write), and readers see the last commit. No method holds a lock while it calls the
// caller's code.
package recall
