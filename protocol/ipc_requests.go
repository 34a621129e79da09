package protocol

import "time"

// InboxChange is the body of POST /v1/inbox/read and /v1/inbox/delete: the messages named by IDs (an id, a message id or
// a unique prefix of 8 or more), or All of them. Mesh and Session narrow All.
type InboxChange struct {
	IDs     []string `json:"ids,omitempty"`
	All     bool     `json:"all,omitempty"`
	Mesh    string   `json:"mesh,omitempty"`
	Session string   `json:"session,omitempty"`
}

// InboxFlush is the body of POST /v1/inbox/flush: it deletes what was received before Before, read or not.
type InboxFlush struct {
	Mesh   string    `json:"mesh,omitempty"` // empty: all meshes
	Before time.Time `json:"before"`
}

// PresenceRequest is the body of POST /v1/presence. What is absent stays as it is.
type PresenceRequest struct {
	Mesh    string   `json:"mesh,omitempty"`    // empty: all meshes
	Session string   `json:"session,omitempty"` // id, label or key; empty: the member
	Status  string   `json:"status,omitempty"`
	Summary *string  `json:"summary,omitempty"`
	Join    []string `json:"join,omitempty"` // groups
	Leave   []string `json:"leave,omitempty"`
}

// PublishRequest is the body of POST /v1/publish: statements (base64url) that the command line signed with the owner key.
type PublishRequest struct {
	Mesh       string   `json:"mesh,omitempty"`
	Statements []string `json:"statements"`
}

// BanRequest is the body of POST /v1/members/ban: the daemon revokes a member's key with its own, an admin's.
type BanRequest struct {
	Mesh   string `json:"mesh,omitempty"`
	Pubkey string `json:"pubkey"`
	Reason string `json:"reason,omitempty"`
}

// LeaveRequest is the body of POST /v1/leave.
type LeaveRequest struct {
	Mesh  string `json:"mesh"`
	Force bool   `json:"force,omitempty"` // forget the key even if nobody can be told
}

// RequeueRequest is the body of POST /v1/outbox/requeue.
type RequeueRequest struct {
	Mesh string `json:"mesh,omitempty"` // empty: the mesh that has the row
	ID   string `json:"id"`
}

// CountReply says how many rows a request changed.
type CountReply struct {
	OK    bool `json:"ok"`
	Count int  `json:"count"`
}

// OKReply answers a request that has nothing else to say.
type OKReply struct {
	OK bool `json:"ok"`
}

// LeaveReply answers POST /v1/leave.
type LeaveReply struct {
	OK        bool   `json:"ok"`
	Mesh      string `json:"mesh"`
	Published bool   `json:"published"`           // the broker took the revocation of our key
	Reason    string `json:"reason,omitempty"`    // why it did not
	OwnerKey  string `json:"owner_key,omitempty"` // path of the owner key file, which stays
}
