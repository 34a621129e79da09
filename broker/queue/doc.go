// Package queue stores the messages that the broker accepted and the recipient has not yet
// acknowledged. It keeps their order and survives crashes. It treats messages as opaque bytes.
//
//	Put ──▶ journal: write, fdatasync ──▶ ring in memory ──▶ done, wake ──▶ Pull
//	                                          │ after five to ten seconds: the rows
//	                                          ▼ that are still unacknowledged
//	                                        bbolt ──▶ segments unlinked
//
// The LSN, the number of the journal record, is the sequence number in every queue. F is the LSN up
// to which everything has been flushed. For each queue, the unacknowledged rows up to F are in bbolt
// and only there. The rows above F are in memory. Their bytes are in memory too, up to a limit;
// beyond it they are read back from the segment. A flush takes a whole prefix of LSNs in one
// transaction. Then it moves F, counts and ring of each queue together under the queue's lock. Only
// then it drops segments. A row that is acknowledged before the flush never touches bbolt.
//
// An acknowledgement is a mark in memory and a lazy journal record. A crash may lose it, which
// causes redelivery but never loss. Below F, the mark is an entry in the queue's delete set: readers
// skip the row, and the next flush deletes it.
//
// After a failed commit a message may or may not exist at the next start. The sender repeats it, and
// the recipient drops the duplicate.
//
// Lock order: shard.mu, queue.mu, Disk.dirtyMu. Disk.flushMu is taken before all others, and only by
// flushes. No lock is held across I/O. Callbacks given to Put and Subscribe run on the journal's
// committer: they must be quick and must not call Put.
package queue
