// Package store keeps bytes on disk. It knows keys, values and records, and nothing about messages.
//
//	DB       one bbolt file: schema versions, transactions, group commit, backup
//	Journal  segments of checksummed records in front of a DB: group commit with one
//	         fdatasync, and a record number (LSN) for each record
//	FS       the few file operations that the journal needs. storetest.Disk implements
//	         a disk that forgets, tears, fills up and fails
//
// A DB takes one or two milliseconds per commit and writes about fifty thousand rows a second. A
// Journal takes one fdatasync and is limited by copying. A caller that needs more than a DB offers
// writes to the journal and moves what remains to the DB later (see broker/queue).
//
// Locks: DB.mu and Journal.mu guard the work that waits for their writer goroutine. Journal.segMu
// guards the list of segments. None is held across I/O, and none is taken while another is held.
// Closures given to DB.Commit run on the writer goroutine, and Record.Committed runs on the
// committer. Neither may wait for a later commit of the same DB or Journal.
package store
