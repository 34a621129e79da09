package protocol

import "time"

// StatementsReply answers GET /v1/statements: all that the daemon holds of a mesh, in force or not, from which the command
// line makes the view that an owner signs against.
type StatementsReply struct {
	Mesh       string            `json:"mesh"`
	MeshID     string            `json:"mesh_id"`
	Charter    string            `json:"charter"`
	Statements []string          `json:"statements"`
	Accepted   map[uint64]string `json:"accepted,omitempty"` // ids of the owner statements that were followed, by n
}

// OfferRequest is the body of POST /api/v1/statements, to the broker: statements that carry their own authority.
type OfferRequest struct {
	Mesh       MeshID   `json:"mesh"`
	Statements []string `json:"statements"`
}

// VerifyRequest is the body of POST /v1/members/verify: the safety numbers were compared, and agreed or not.
type VerifyRequest struct {
	Mesh   string `json:"mesh,omitempty"`
	Pubkey string `json:"pubkey"` // member key
	Agreed bool   `json:"agreed"` // false takes the mark away
}

// DeviceInfo is one key of this member, in GET /v1/devices: that of the member, or of a session that it certified.
type DeviceInfo struct {
	Mesh      string    `json:"mesh"`
	Label     string    `json:"label"`
	Pubkey    string    `json:"pubkey"`
	Kind      string    `json:"kind"` // member or session
	Here      bool      `json:"here"` // the secret half is on this machine
	Live      bool      `json:"live"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // of its session statement
	Revoked   bool      `json:"revoked,omitempty"`
}

// RevokeDeviceRequest is the body of POST /v1/devices/revoke. Key is a label, a whole key or 6 or more of its digits.
type RevokeDeviceRequest struct {
	Mesh   string `json:"mesh,omitempty"`
	Key    string `json:"key"`
	Reason string `json:"reason,omitempty"`
}

// BackupRequest is the body of POST /v1/backup: the head of a sealed file and the key that the caller's passphrase gave with
// it. The passphrase itself stays with the caller.
type BackupRequest struct {
	Head []byte `json:"head"`
	Key  []byte `json:"key"`
}

// BackupReply answers it with the sealed file.
type BackupReply struct {
	Sealed []byte `json:"sealed"`
}
