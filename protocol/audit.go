package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// AuditEntry is one line of a mesh's audit log, as its broker keeps it: who did what to whom, never what was said. Each entry
// holds the hash of the one before it, so that nothing can be taken out of the middle.
type AuditEntry struct {
	N      uint64      `json:"n"` // from 1
	At     string      `json:"at"`
	Event  string      `json:"event"`
	Actor  string      `json:"actor,omitempty"` // key of the member who did it
	Detail AuditDetail `json:"detail"`
	Prev   string      `json:"prev"`           // hash of entry n-1; of the first AuditGenesis
	Hash   string      `json:"hash,omitempty"` // see Sum
}

// AuditDetail says what an event was about. Which fields there are depends on the event.
type AuditDetail struct {
	Key       string `json:"key,omitempty"`
	Label     string `json:"label,omitempty"`
	Statement string `json:"statement,omitempty"` // id
	Kind      string `json:"kind,omitempty"`      // of the statement
	Role      string `json:"role,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Count     int    `json:"count,omitempty"`
}

// AuditGenesis is what the first entry names as the one before it.
const AuditGenesis = "genesis"

// Sum returns the hash that e must have: SHA-256, in hex, of its JSON without the field hash.
func (e AuditEntry) Sum() string {
	e.Hash = ""
	b, err := json.Marshal(e)
	if err != nil {
		panic("protocol: audit entry that has no JSON: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// VerifyAudit checks that each entry follows from the one before it. Entries are in ascending order; the first may follow
// some that are not there, whose hash is then prev (empty: do not care). An error names the entry that is wrong.
func VerifyAudit(entries []AuditEntry, prev string) error {
	for i, e := range entries {
		switch {
		case e.Sum() != e.Hash:
			return fmt.Errorf("entry %d is not what was written: its hash is another", e.N)
		case e.N == 1 && e.Prev != AuditGenesis, prev != "" && e.Prev != prev:
			return fmt.Errorf("entry %d does not follow entry %d", e.N, e.N-1)
		case i > 0 && e.N != entries[i-1].N+1:
			return fmt.Errorf("entries %d to %d are missing", entries[i-1].N+1, e.N-1)
		}
		prev = e.Hash
	}
	return nil
}

// The verbs of op statements.
const (
	OpKick   = "kick"   // KickArgs → KickResult
	OpAudit  = "audit"  // AuditArgs → AuditPage
	OpDelete = "delete" // no arguments; the owner only
)

// KickArgs names whose connections end: a session's, or all of a member's.
type KickArgs struct {
	Key string `json:"key"`
}

// KickResult says how many connections ended.
type KickResult struct {
	Kicked int `json:"kicked"`
}

// AuditArgs asks for entries after number After, the oldest first.
type AuditArgs struct {
	After uint64 `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"` // default and at most 1000
}

// AuditPage answers it. Last is the newest entry that there is.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Last    uint64       `json:"last"`
}
