// Package store keeps bytes on disk. It knows keys, values and records, and
// nothing of messages.
//
//	DB       one bbolt file: schema versions, transactions, group commit, backup
//	Journal  segments of checksummed records in front of it: one fdatasync for
//	         all that waits, and a record number (LSN) for each
//	FS       the few file operations that the journal needs; storetest.Disk is
//	         one that forgets, tears, fills up and fails
//
// A DB costs one or two milliseconds per commit and about fifty thousand rows
// a second; a Journal costs one fdatasync and is limited by the copying. Who
// needs more than the former writes to the journal and moves what is left to
// the DB later (see broker/queue).
//
// Locks: DB.mu and Journal.mu guard what waits for their writer goroutine,
// Journal.segMu the list of segments. None is held across I/O and none is taken
// while another is held. Closures given to DB.Commit run on the writer
// goroutine; Record.Committed runs on the committer: neither may wait for a
// later commit of the same DB or Journal.
package store
