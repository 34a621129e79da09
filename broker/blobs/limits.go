package blobs

import "time"

// Limits are what a member and a mesh may keep.
type Limits struct {
	File       int64         // bytes of one blob
	Member     int64         // bytes of one member's blobs
	Count      int           // blobs of one member
	Mesh       int64         // bytes of all blobs of a mesh
	Life       time.Duration // of a complete blob
	Unfinished time.Duration // since the last byte of one that is not
}
