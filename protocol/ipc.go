package protocol

import (
	"encoding/json"
	"time"
)

// What crosses the daemon's local socket: JSON over HTTP/1.1. Times are RFC 3339 in UTC.
// Field names are what scripts see under --json; they may be added, never renamed. Nothing here ever holds a secret.

// Health answers GET /v1/health.
type Health struct {
	OK       bool                  `json:"ok"`
	PID      int                   `json:"pid"`
	Version  string                `json:"version"`
	Build    string                `json:"build"`
	Uptime   float64               `json:"uptime"` // seconds
	Meshes   map[string]MeshHealth `json:"meshes"` // by slug
	Sessions int                   `json:"sessions"`
	Streams  int                   `json:"event_streams"`   // open
	Error    string                `json:"error,omitempty"` // why it is not ok: config.json cannot be read, the disk is full

	LocalBroker *LocalBrokerHealth `json:"local_broker,omitempty"` // nil: the daemon runs none
}

// LocalBrokerHealth is the broker that the daemon itself runs.
type LocalBrokerHealth struct {
	Listen string `json:"listen"`
	Error  string `json:"error,omitempty"` // why it does not run
}

// Connection states of a mesh in MeshHealth.
const (
	ConnConnecting   = "connecting"   // never been open since the daemon started
	ConnOpen         = "open"         // hello accepted, and heard from within 75 s
	ConnReconnecting = "reconnecting" // was open, trying again
	ConnRefused      = "refused"      // the broker said no; retried slowly
)

// MeshHealth is what the connection to one mesh's broker is at the moment of asking.
type MeshHealth struct {
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	LastError string    `json:"last_error,omitempty"`
	ErrorCode Code      `json:"error_code,omitempty"`
	RTTms     float64   `json:"rtt_ms,omitempty"`
	Queued    int       `json:"queued"` // outbox rows that the broker has not acknowledged
}

// MeshInfo is one joined mesh, in GET /v1/meshes.
type MeshInfo struct {
	Mesh    string `json:"mesh"` // slug, a local label
	MeshID  string `json:"mesh_id"`
	Broker  string `json:"broker"`
	Role    string `json:"role"` // owner, admin, member, invited, removed
	Name    string `json:"name"`
	Pubkey  string `json:"pubkey"`
	State   string `json:"state"`
	Trust   Trust  `json:"trust"` // of ourselves in the view
	Default bool   `json:"default,omitempty"`
	Owner   string `json:"owner_pubkey"`
	Inbound string `json:"inbound,omitempty"` // accept, hold or refuse

	Receipts string `json:"receipts,omitempty"` // on or off: whether senders are told that a message was shown and read
}

// PeerInfo is one session on a mesh, in GET /v1/peers.
type PeerInfo struct {
	Mesh         string   `json:"mesh"`
	Name         string   `json:"name"`
	Session      string   `json:"session"` // label; empty for a member without a session
	Pubkey       string   `json:"pubkey"`
	MemberPubkey string   `json:"member_pubkey"`
	SessionID    string   `json:"session_id"`
	Presence     string   `json:"presence"` // session, or no session: then only the member's daemon is there
	Status       string   `json:"status"`   // of the session; where there is none, that
	Summary      string   `json:"summary"`
	Groups       []string `json:"groups"`
	Cwd          string   `json:"cwd"`
	Hostname     string   `json:"hostname"`
	Model        string   `json:"model,omitempty"`
	PeerType     string   `json:"peer_type"`
	Channel      string   `json:"channel"`
	ConnectedAt  string   `json:"connected_at"`
	Trust        Trust    `json:"trust"`
	InPerson     bool     `json:"in_person,omitempty"`
	Self         bool     `json:"self"`
	Unaccepted   bool     `json:"unaccepted,omitempty"` // asked for a session that may not read the peer's own words
}

// MemberInfo is one member, in GET /v1/members.
type MemberInfo struct {
	Mesh     string `json:"mesh"`
	Name     string `json:"name"`
	Pubkey   string `json:"pubkey"`
	Role     string `json:"role"`
	Trust    Trust  `json:"trust"`
	InPerson bool   `json:"in_person,omitempty"`
	Online   bool   `json:"online"`
	Presence string `json:"presence"` // session, no session or offline
	Sessions int    `json:"sessions"`
	LastSeen string `json:"last_seen,omitempty"`
	Self     bool   `json:"self"`

	Claim *Claim `json:"claim,omitempty"` // of who waits to be admitted

	CanAnswer bool   `json:"can_answer"`     // a session is there that is not on dnd
	Note      string `json:"note,omitempty"` // why somebody is not (or no longer) verified
}

// WhoAmI answers GET /v1/whoami, one entry a mesh.
type WhoAmI struct {
	Mesh        string `json:"mesh"`
	MeshID      string `json:"mesh_id"`
	Name        string `json:"name"`
	Role        string `json:"role"`
	Pubkey      string `json:"pubkey"`
	Trust       Trust  `json:"trust"`
	Session     string `json:"session,omitempty"`
	SessionKey  string `json:"session_pubkey,omitempty"`
	Fingerprint string `json:"fingerprint"`

	Groups []string `json:"groups"`           // of the session and its member, or of the member
	Reason string   `json:"reason,omitempty"` // why the role is removed, and by whose word
}

// GroupInfo is one group, in GET /v1/groups.
type GroupInfo struct {
	Mesh    string        `json:"mesh"`
	Group   string        `json:"group"` // without @
	Self    bool          `json:"self"`  // who asks is in it
	Members []GroupMember `json:"members"`
}

// GroupMember is a verified member who gets what is sent to the group, by one session at least.
type GroupMember struct {
	Name   string `json:"name"`
	Pubkey string `json:"pubkey"`
	Online bool   `json:"online"`
	Self   bool   `json:"self"`
}

// SendRequest is the body of POST /v1/send. The answer comes when the message is sealed and on disk, or, with WaitMS,
// when every recipient reached WaitFor (default delivered) or the time is over.
type SendRequest struct {
	Mesh     string          `json:"mesh,omitempty"`
	To       string          `json:"to"`
	Body     string          `json:"body"`
	Priority string          `json:"priority,omitempty"` // default next
	ReplyTo  string          `json:"reply_to,omitempty"` // id of an inbox message; To may then be empty
	Kind     string          `json:"kind,omitempty"`
	Session  string          `json:"session,omitempty"`   // acts for this session: id, label or key; default see Acting
	ClientID string          `json:"client_id,omitempty"` // caller's id for idempotency: a repeat answers the first result
	WaitMS   int             `json:"wait_ms,omitempty"`
	WaitFor  State           `json:"wait_for,omitempty"`
	Meta     json.RawMessage `json:"meta,omitempty"`  // a JSON object, passed on as it is
	Files    []string        `json:"files,omitempty"` // ids of StagedFile: with one, Body may be empty
}

// SendResult is the body of the answer, and of GET /v1/messages/{id}.
type SendResult struct {
	OK         bool              `json:"ok"`
	ID         string            `json:"id"`         // client id
	MessageID  string            `json:"message_id"` // the broker's id; known once it is queued
	Mesh       string            `json:"mesh"`
	To         string            `json:"to"`
	State      State             `json:"state"` // the lowest of the recipients'
	Priority   string            `json:"priority"`
	Kind       string            `json:"kind,omitempty"`
	Recipients []RecipientResult `json:"recipients"`
	AcceptedAt time.Time         `json:"accepted_at"`
	KeptDays   int               `json:"kept_days,omitempty"`

	Waits *ErrorBody `json:"waits,omitempty"` // why it is only accepted; nil: it is on its way, or further
	Files []SentFile `json:"files,omitempty"`
}

// RecipientResult is one recipient's state.
type RecipientResult struct {
	Name     string    `json:"name"`
	Session  string    `json:"session,omitempty"`
	Pubkey   string    `json:"pubkey"`
	State    State     `json:"state"`
	Proof    string    `json:"proof"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason,omitempty"`
	Rung     string    `json:"rung,omitempty"` // how it was shown
	Online   bool      `json:"online"`         // a daemon or a session is connected
	LastSeen string    `json:"last_seen,omitempty"`

	Presence     string `json:"presence"`                // session, no session or offline
	CanAnswer    bool   `json:"can_answer"`              // a session is there that is not on dnd, or the message is urgent
	SessionEnded bool   `json:"session_ended,omitempty"` // the session is gone and its daemon is there: another one gets the message
}

// Who is there to get a message.
const (
	PresenceSession   = "session"
	PresenceNoSession = "no session" // the daemon alone: it keeps messages, and nobody reads them
	PresenceOffline   = "offline"
	PresenceAPIKey    = "api key" // a program, which fetches its messages: nobody knows when
)

// From is the sender of a message, as believed when it was opened.
type From struct {
	Name         string `json:"name"`
	Session      string `json:"session,omitempty"`
	Pubkey       string `json:"pubkey"`
	MemberPubkey string `json:"member_pubkey"`
	Trust        Trust  `json:"trust"`
}

// InboxMessage is one message, in GET /v1/inbox (newest first) and in events.
type InboxMessage struct {
	ID         string          `json:"id"`         // client id
	MessageID  string          `json:"message_id"` // the broker's id
	Mesh       string          `json:"mesh"`
	From       From            `json:"from"`
	To         string          `json:"to"` // key, "*", "@group"
	ToSession  string          `json:"to_session,omitempty"`
	Topic      string          `json:"topic,omitempty"`
	ReplyTo    string          `json:"reply_to,omitempty"`
	Question   string          `json:"question,omitempty"` // id of the question of ours that this answers
	Kind       string          `json:"kind,omitempty"`
	Priority   string          `json:"priority"`
	Meta       json.RawMessage `json:"meta,omitempty"` // as the sender attached it, an object
	Body       string          `json:"body"`
	SentAt     time.Time       `json:"sent_at"`
	ReceivedAt time.Time       `json:"received_at"`
	ReadAt     *time.Time      `json:"read_at,omitempty"`  // when it was first answered or marked as read, by whomever
	ShownAt    *time.Time      `json:"shown_at,omitempty"` // when it was first proved to be in front of a session
	ShownBy    string          `json:"shown_by,omitempty"` // the label of that session
	Unseen     bool            `json:"unseen"`             // no person has answered it or marked it as read
	SeenBy     []SeenBy        `json:"seen_by"`            // in the order of seeing
	Held       string          `json:"held,omitempty"`     // why it is kept out of the model's context
	Alarm      string          `json:"alarm,omitempty"`    // why it was not opened; such a row has no body
	Flags      []string        `json:"flags,omitempty"`    // cloned, again, session_ended
	Files      []FileInfo      `json:"files,omitempty"`    // claudemesh inbox save
}

// Who saw a message.
const (
	SeenByPerson  = "person"
	SeenBySession = "session"
)

// SeenBy is one who saw a message: the person, or a session of this machine.
type SeenBy struct {
	By            string    `json:"by"`
	Session       string    `json:"session,omitempty"` // label
	SessionPubkey string    `json:"session_pubkey,omitempty"`
	State         State     `json:"state"` // shown or read
	Rung          string    `json:"rung,omitempty"`
	At            time.Time `json:"at"`
}

// InboxQuery selects messages.
type InboxQuery struct {
	Mesh    string `json:"mesh,omitempty"`
	Session string `json:"session,omitempty"` // only what this session may see; empty: all of this member
	All     bool   `json:"all,omitempty"`     // read ones too
	Unseen  bool   `json:"unseen,omitempty"`  // what no person saw, whatever sessions saw: the default without a session
	Unread  bool   `json:"unread,omitempty"`  // what neither a person nor a session saw
	Brief   bool   `json:"brief,omitempty"`   // without the texts
	Limit   int    `json:"limit,omitempty"`   // default 100
	Before  uint64 `json:"before,omitempty"`  // Next of the page before; 0: from the newest on
}

// InboxPage is a part of the inbox, newest first, in GET /v1/inbox. It is bounded whatever the limit says: where Next is not 0
// there may be more, which the same query with Before set to it gives.
type InboxPage struct {
	Messages []InboxMessage `json:"messages"`
	Next     uint64         `json:"next,omitempty"`
}

// OutboxRow is one message on its way out, in GET /v1/outbox.
type OutboxRow struct {
	ID        string    `json:"id"`
	MessageID string    `json:"message_id,omitempty"`
	Mesh      string    `json:"mesh"`
	To        string    `json:"to"`
	Name      string    `json:"name"`
	State     State     `json:"state"`
	Reason    string    `json:"reason,omitempty"`
	Attempts  int       `json:"attempts"`
	Bytes     int       `json:"bytes"`
	CreatedAt time.Time `json:"created_at"`
	NextTry   time.Time `json:"next_try,omitzero"`
}

// InviteRequest is the body of POST /v1/invites. A link for an admin is signed by the command line with the owner key
// and comes as Signed; any other is signed by the daemon with the member key.
type InviteRequest struct {
	Mesh    string `json:"mesh,omitempty"`
	Role    string `json:"role,omitempty"`
	Expires int64  `json:"expires"` // Unix s
	Uses    int    `json:"uses"`
	Signed  string `json:"signed,omitempty"`
}

// InviteInfo is one link that this member issued. Link is only in the answer that made it: the seed is not kept.
type InviteInfo struct {
	ID      string    `json:"id"`
	Mesh    string    `json:"mesh"`
	Link    string    `json:"link,omitempty"`
	Role    string    `json:"role"`
	Uses    int       `json:"uses"`
	Used    int       `json:"used"`
	Expires time.Time `json:"expires"`
	State   string    `json:"state"` // open, closed, expired, used_up
	Admits  []string  `json:"admits,omitempty"`
}

// Event is one server-sent event of GET /v1/events. Seq is its id for Last-Event-ID.
type Event struct {
	Seq     uint64        `json:"seq"`
	Type    string        `json:"type"` // ready (first in a stream), message, state, peer_joined, peer_left, mesh, notice
	At      time.Time     `json:"at"`
	Mesh    string        `json:"mesh,omitempty"`
	Message *InboxMessage `json:"message,omitempty"`
	State   *SendResult   `json:"state,omitempty"`
	Peer    *PeerInfo     `json:"peer,omitempty"`
	Notice  string        `json:"notice,omitempty"`
}

// ErrorReply is the body of any answer that is not 2xx.
type ErrorReply struct {
	OK    bool      `json:"ok"` // always false
	Error ErrorBody `json:"error"`
}

// ErrorBody is an Error as scripts see it.
type ErrorBody struct {
	Code       Code     `json:"code"`
	Message    string   `json:"message"`
	Hint       string   `json:"hint,omitempty"`
	Retryable  bool     `json:"retryable,omitempty"`
	RetryAfter int64    `json:"retry_after_ms,omitempty"`
	Names      []string `json:"names,omitempty"`
}
