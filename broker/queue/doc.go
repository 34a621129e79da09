// Package queue keeps what the broker has accepted and a recipient has not
// acknowledged, in order, across crashes. It sees opaque bytes.
//
//	Put ──▶ journal: write, fdatasync ──▶ ring in memory ──▶ done, wake ──▶ Pull
//	                                          │ after five to ten seconds, what
//	                                          ▼ is not acknowledged by then
//	                                        bbolt ──▶ segments unlinked
//
// The LSN, the number of the journal record, is the sequence of every queue.
// F is the LSN up to which everything has been flushed. For each queue the
// unacknowledged rows up to F are in bbolt and only there; the rows above F are
// in memory, their bytes too up to a limit, else they are read back from the
// segment. A flush takes a whole prefix of LSNs in one transaction, then moves
// F, counts and ring of each queue together under its lock, and only then drops
// segments. What is acknowledged before the flush never touches bbolt.
//
// An acknowledgement is a mark in memory and a lazy journal record: a crash may
// lose it, which means redelivery, never loss. Below F the mark is an entry in
// the queue's delete set, which readers skip and the next flush applies.
//
// After a failed commit a message may or may not be there at the next start:
// the sender repeats it and the recipient drops the second.
//
// Locks, in this order: shard.mu, queue.mu, Disk.dirtyMu; Disk.flushMu is taken
// first of all and only by flushes. No lock is held across I/O. The functions
// given to Put and Subscribe run on the journal's committer: they must be quick
// and must not Put.
package queue
