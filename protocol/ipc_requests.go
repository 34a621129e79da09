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

// InboxFlush is the body of POST /v1/inbox/flush: it deletes what was received before Before and a person saw.
type InboxFlush struct {
	Mesh   string    `json:"mesh,omitempty"` // empty: all meshes
	Before time.Time `json:"before"`
	Unread bool      `json:"unread,omitempty"` // delete what no person saw, too
}

// FlushReply answers it.
type FlushReply struct {
	OK    bool `json:"ok"`
	Count int  `json:"count"` // deleted
	Kept  int  `json:"kept"`  // as old, and seen by no person
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

// AdmitRequest is the body of POST /v1/members/admit: the daemon certifies one who claims a link of its own member's.
type AdmitRequest struct {
	Mesh   string `json:"mesh,omitempty"`
	Pubkey string `json:"pubkey"`
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

// PingRequest is the body of POST /v1/ping.
type PingRequest struct {
	Mesh   string `json:"mesh,omitempty"`
	To     string `json:"to"`                // a member or a session
	WaitMS int64  `json:"wait_ms,omitempty"` // for the answer; 0: 5 s, at most a minute
}

// What became of a ping.
const (
	PingAnswered = "answered" // the peer's daemon says so, sealed and signed
	PingOffline  = "offline"  // the broker says that nobody is connected: nothing was sent
	PingSilent   = "silent"   // sent, and no answer in time
	PingRefused  = "refused"  // the peer's daemon takes nothing from here
)

// PingResult answers POST /v1/ping. RTT is the way there and back, both brokers' commits and both seals included.
type PingResult struct {
	OK           bool    `json:"ok"` // answered
	Mesh         string  `json:"mesh"`
	Name         string  `json:"name"`
	Session      string  `json:"session,omitempty"`
	Pubkey       string  `json:"pubkey"`
	MemberPubkey string  `json:"member_pubkey"`
	Trust        Trust   `json:"trust"`
	InPerson     bool    `json:"in_person,omitempty"`
	State        string  `json:"state"`
	RTTms        float64 `json:"rtt_ms,omitempty"`        // answered and refused
	BrokerRTTms  float64 `json:"broker_rtt_ms,omitempty"` // until the broker had the ping on disk
	LastSeen     string  `json:"last_seen,omitempty"`     // offline: the broker's word
	Presence     string  `json:"presence"`                // session, no session or offline: a daemon answers pings without a session, too
	CanAnswer    bool    `json:"can_answer"`              // a session is there that is not on dnd
	Reason       string  `json:"reason,omitempty"`
}
