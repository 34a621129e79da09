package protocol

import "time"

// GapInfo is what did not arrive from one member in time, in GET /v1/gaps.
type GapInfo struct {
	Mesh    string    `json:"mesh"`
	Name    string    `json:"name"`
	Pubkey  string    `json:"pubkey"`
	Missing uint64    `json:"missing"` // messages
	Since   time.Time `json:"since"`   // of the oldest
}
