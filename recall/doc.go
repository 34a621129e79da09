// Package recall is a memory of what this machine's agent sessions learned.
//
// It reads the recordings that clients leave (package source), takes secrets out (package redact),
// and keeps what remains in a full-text index that answers in milliseconds:
//
//	transcript ─▶ source.Read ─▶ redact ─▶ recall.db ─▶ Search ─▶ hits, best first
//	                episodes                 SQLite FTS5            rank: rare words first
//
// The index outlives the recordings, which clients delete after some weeks. Nothing in it is stored
// before it was redacted. What the user excluded, declared private or made the memory forget is not
// in it and does not come back.
//
// A Memory is used by one process; its methods may be called by several goroutines. One goroutine
// writes at a time (write guards it), and readers see the last commit. No method holds a lock while
// it calls the caller's code.
package recall
