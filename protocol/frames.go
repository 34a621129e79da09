package protocol

import "encoding/json"

// Frame types. One JSON object per WebSocket message; the string field "type" tells which.
const (
	TypeHelloChallenge = "hello_challenge"
	TypeChallenge      = "challenge"
	TypeHello          = "hello"
	TypeSessionHello   = "session_hello"
	TypeHelloAck       = "hello_ack"
	TypePublish        = "publish"
	TypePublished      = "published"
	TypeLog            = "log"
	TypeListMembers    = "list_members"
	TypeMembersList    = "members_list"
	TypeMembership     = "membership"
	TypeListPeers      = "list_peers"
	TypePeersList      = "peers_list"
	TypePresence       = "presence"
	TypeSend           = "send"
	TypeAck            = "ack"
	TypePush           = "push"
	TypeClientAck      = "client_ack"
	TypeReceipt        = "receipt"
	TypeSetStatus      = "set_status"
	TypeSetCard        = "set_card"
	TypeSetGrants      = "set_grants"
	TypeMessageStatus  = "message_status"
	TypeMessageState   = "message_status_result"
	TypeOp             = "op"
	TypeOK             = "ok"
	TypeError          = "error"
)

// Capabilities of a hop, named in hello and hello_ack. They change how bytes travel, never what is accepted or shown.
const (
	CapTrust     = "trust"     // publish, log, list_members
	CapEnvelope2 = "envelope2" // keys in send, key in push
	CapReceipts  = "receipts"  // receipt frames, proof in client_ack
	CapPresence  = "presence"  // presence frames instead of system pushes
	CapGrants    = "grants"    // set_grants
)

// Capabilities lists what this build speaks.
func Capabilities() []string {
	return []string{CapTrust, CapEnvelope2, CapReceipts, CapPresence, CapGrants}
}

// Tag is the part of a frame that every handler looks at first.
type Tag struct {
	Type  string `json:"type"`
	ReqID string `json:"_reqId,omitempty"` // echoed in exactly one reply
}

// RequestID returns the id that the answer to the frame echoes; empty: nobody waits for one.
func (t Tag) RequestID() string { return t.ReqID }

// HelloChallenge asks for a nonce; Challenge answers it. A nonce is good for one hello on its own connection.
type HelloChallenge struct {
	Tag
	MeshID string `json:"meshId"`
}

// Challenge carries the broker's nonce (64 hex digits) and what the broker speaks.
type Challenge struct {
	Tag
	Nonce           string   `json:"nonce"`
	ProtocolVersion int      `json:"protocolVersion"`
	Capabilities    []string `json:"capabilities"`
	Time            int64    `json:"time"` // the broker's clock, Unix ms: lets the client name a clock that is off
}

// Hello opens a connection. As `hello` it is a member's control connection, as `session_hello` that of one session.
type Hello struct {
	Tag
	MeshID          string   `json:"meshId"`
	SessionID       string   `json:"sessionId,omitempty"`
	PeerType        string   `json:"peerType,omitempty"`
	Channel         string   `json:"channel,omitempty"`
	Status          string   `json:"status,omitempty"` // idle, working, waiting or dnd; empty is idle
	ProtocolVersion int      `json:"protocolVersion,omitempty"`
	Capabilities    []string `json:"capabilities,omitempty"`
	Auth            string   `json:"auth,omitempty"`    // a `hello` statement
	Session         string   `json:"session,omitempty"` // a `session` statement of the connecting key, fresh at each connect

	Signature string `json:"signature,omitempty"` // of the original claudemesh, which has it in the place of Auth: refused
}

// HelloAck accepts a hello.
type HelloAck struct {
	Tag
	PresenceID        string   `json:"presenceId"`
	MemberDisplayName string   `json:"memberDisplayName"`
	ProtocolVersion   int      `json:"protocolVersion"`
	Capabilities      []string `json:"capabilities"`
	LogCursor         uint64   `json:"logCursor"` // newest statement that the broker has
	RetentionDays     int      `json:"retentionDays,omitempty"`
}

// Publish offers statements to the broker, base64url; Published says what became of each, by statement id (hex).
type Publish struct {
	Tag
	Statements []string `json:"statements"`
}

// Published answers Publish. Accepted includes statements that the broker had already.
type Published struct {
	Tag
	Accepted []string           `json:"accepted"`
	Refused  []RefusedStatement `json:"refused,omitempty"`
}

// RefusedStatement is one statement that the broker did not take, and why.
type RefusedStatement struct {
	ID      string `json:"id"`
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Log asks for the statements after a cursor, answers with some of them, and is pushed when there are new ones (without _reqId).
// The answer may be cut to fit a frame: More says that there is more after Cursor.
type Log struct {
	Tag
	After      uint64   `json:"after,omitempty"`
	Statements []string `json:"statements,omitempty"`
	Cursor     uint64   `json:"cursor,omitempty"`
	More       bool     `json:"more,omitempty"`
}

// MembersList answers list_members: everybody who is or was admitted or invited, online or not.
type MembersList struct {
	Tag
	Members []MemberItem `json:"members"`
}

// MemberItem is one member as the broker knows him. Only the statements in it prove anything.
type MemberItem struct {
	Pubkey   string   `json:"pubkey"`
	Certs    []string `json:"certs,omitempty"`  // cert statements for this key
	Invite   string   `json:"invite,omitempty"` // with Enrol: how he came
	Enrol    string   `json:"enrol,omitempty"`
	Arrived  int64    `json:"arrived,omitempty"`  // how manieth enrolment of the mesh that was, by the broker's word
	Sessions []string `json:"sessions,omitempty"` // newest session statement per key, the control key's included
	APIKeys  []string `json:"apikeys,omitempty"`  // apikey statements of this member's keys that live
	Online   bool     `json:"online"`
	LastSeen int64    `json:"last_seen,omitempty"` // Unix ms
}

// Membership is pushed to control connections when a member is new or changed (enrolled, admitted, session published).
type Membership struct {
	Tag
	Members []MemberItem `json:"members"`
}

// PeersList answers list_peers; Presence is its increment, pushed to connections with CapPresence.
type PeersList struct {
	Tag
	Peers []PeerItem `json:"peers"`
}

// Presence tells what changed: whole items for who came or changed, keys of who left.
type Presence struct {
	Tag
	Peers []PeerItem `json:"peers,omitempty"`
	Left  []string   `json:"left,omitempty"`
}

// PeerItem is one live connection. Everything in it is the broker's word, except what Session and Card prove.
type PeerItem struct {
	Pubkey       string   `json:"pubkey"` // session key, or the member key for a control connection
	MemberPubkey string   `json:"memberPubkey"`
	DisplayName  string   `json:"displayName"`
	Status       string   `json:"status"`
	Groups       []string `json:"groups"`
	SessionID    string   `json:"sessionId"`
	ConnectedAt  string   `json:"connectedAt"` // UTC, RFC 3339 with milliseconds
	PeerRole     string   `json:"peerRole"`    // control-plane or session
	PeerType     string   `json:"peerType,omitempty"`
	Channel      string   `json:"channel,omitempty"`
	Session      string   `json:"session,omitempty"` // session statement
	Card         *Sealed  `json:"card,omitempty"`    // with the asker's own wrap
}

// Peer roles in PeerItem.
const (
	RoleControl = "control-plane"
	RoleSession = "session"
)

// Sealed is an envelope outside of send and push: a card, or the proof in a receipt.
type Sealed struct {
	Sender     string `json:"sender,omitempty"` // hex key that sealed it
	Nonce      string `json:"nonce"`
	Ciphertext string `json:"ciphertext"`
	Key        string `json:"key,omitempty"` // the reader's own wrap, group envelopes only
}

// Send hands a sealed message to the broker. ID is the envelope's id and the client message id in one.
type Send struct {
	Tag
	ID              string            `json:"id"`
	ClientMessageID string            `json:"client_message_id,omitempty"`
	TargetSpec      string            `json:"targetSpec"` // 64 hex, "*", "@group"
	Priority        string            `json:"priority"`
	Nonce           string            `json:"nonce"`
	Ciphertext      string            `json:"ciphertext"`
	Keys            map[string]string `json:"keys,omitempty"`   // group: member key (hex) → wrap
	Sender          string            `json:"sender,omitempty"` // an ended session's key, on its member's control connection
	Kind            string            `json:"kind,omitempty"`   // "receipt" and "log" are not counted against the recipient's queue
}

// Ack answers Send. Queued means: on the broker's disk. Otherwise Code says why not.
type Ack struct {
	Tag
	ID         string `json:"id"`
	MessageID  string `json:"messageId"`
	Queued     bool   `json:"queued"`
	Error      string `json:"error,omitempty"` // code and sentence
	Code       Code   `json:"code,omitempty"`
	Retryable  bool   `json:"retryable,omitempty"`
	RetryAfter int64  `json:"retry_after_ms,omitempty"`
}

// Push brings a message to the connection of its recipient. Targets are shown as the sender named them:
// for a direct message the key that it was sealed to, which may be an ended session's.
type Push struct {
	Tag
	MessageID          string `json:"messageId"`
	MeshID             string `json:"meshId"`
	SenderPubkey       string `json:"senderPubkey"`
	SenderMemberPubkey string `json:"senderMemberPubkey,omitempty"`
	SenderName         string `json:"senderName,omitempty"`
	TargetSpec         string `json:"targetSpec,omitempty"`
	Priority           string `json:"priority"`
	Nonce              string `json:"nonce"`
	Ciphertext         string `json:"ciphertext"`
	Key                string `json:"key,omitempty"` // own wrap, group messages only
	CreatedAt          string `json:"createdAt"`
	ClientMessageID    string `json:"client_message_id,omitempty"`
	ReplyToID          string `json:"replyToId,omitempty"`
	Topic              string `json:"topic,omitempty"`
}

// ClientAck says that a push, or a receipt, is on the recipient's disk: the broker may forget it.
type ClientAck struct {
	Tag
	ClientMessageID string  `json:"clientMessageId,omitempty"`
	BrokerMessageID string  `json:"brokerMessageId,omitempty"` // messageId of a push, receiptId of a receipt
	Proof           *Sealed `json:"proof,omitempty"`           // receipt envelope `delivered`, sealed to the sender
	State           string  `json:"state,omitempty"`           // empty or "delivered"; "refused": not taken, the proof says why
}

// Receipt tells a sender what became of a message. It travels from a recipient to the broker (To set) for `shown` and `read`,
// and from the broker to the sender for every state after `queued`. The broker keeps it until the sender acknowledges ReceiptID.
type Receipt struct {
	Tag
	ReceiptID       string  `json:"receiptId,omitempty"`
	MessageID       string  `json:"messageId,omitempty"`
	ClientMessageID string  `json:"clientMessageId"`
	To              string  `json:"to,omitempty"` // key that sent the message
	Recipient       string  `json:"recipient"`    // key that the message was for
	State           string  `json:"state"`        // delivered, shown, read, expired, refused
	Reason          string  `json:"reason,omitempty"`
	At              int64   `json:"at"` // Unix ms
	Proof           *Sealed `json:"proof,omitempty"`
}

// SetStatus sets the status that others see of this connection.
type SetStatus struct {
	Tag
	Status string `json:"status"`
}

// SetGrants tells the broker what this member lets single peers do (Grants), all of it: by their keys in hex. Who is not in it may
// do everything. Only a control connection may say so.
type SetGrants struct {
	Tag
	Grants map[string][]string `json:"grants"`
}

// SetCard replaces the card of this connection: a group envelope of kind "card".
type SetCard struct {
	Tag
	ID         string            `json:"id"`
	Nonce      string            `json:"nonce"`
	Ciphertext string            `json:"ciphertext"`
	Keys       map[string]string `json:"keys"`
}

// MessageStatus asks what the broker knows of a message of one's own; MessageState answers.
type MessageStatus struct {
	Tag
	MessageID string `json:"messageId"` // message id or client id, or a unique prefix of 8 or more
}

// MessageState answers MessageStatus. The states are the broker's word.
type MessageState struct {
	Tag
	MessageID  string           `json:"messageId"`
	TargetSpec string           `json:"targetSpec"`
	Delivered  bool             `json:"delivered"`
	Recipients []RecipientState `json:"recipients"`
}

// RecipientState is one recipient's state as the broker knows it.
type RecipientState struct {
	Name   string `json:"name,omitempty"`
	Pubkey string `json:"pubkey"`
	Status string `json:"status"` // queued, delivered, expired, refused
	At     int64  `json:"at,omitempty"`
}

// OpFrame asks the broker for an administrative act, authorised by the statement (ctx "op") alone.
type OpFrame struct {
	Tag
	Statement string `json:"statement"`
}

// OK answers a request that has nothing to return, or a small JSON result.
type OK struct {
	Tag
	Result json.RawMessage `json:"result,omitempty"`
}

// ErrorFrame is a refusal on the wire.
type ErrorFrame struct {
	Tag
	Code       Code   `json:"code"`
	Message    string `json:"message"`
	ID         string `json:"id,omitempty"` // of the send that it answers
	Retryable  bool   `json:"retryable,omitempty"`
	RetryAfter int64  `json:"retry_after_ms,omitempty"`
}

// JoinRequest is the body of POST /join from our clients. Wait lets the broker hold the answer until a certificate for the
// new member is published, at most 10 s. The same request may be repeated: it changes nothing the second time.
type JoinRequest struct {
	Invite string `json:"invite"`
	Enrol  string `json:"enrol"`
	WaitMS int    `json:"wait_ms,omitempty"`
}

// JoinReply answers it: the mesh's charter and log. The joiner checks all of it against the link.
type JoinReply struct {
	OK         bool     `json:"ok"`
	MemberID   string   `json:"memberId,omitempty"`
	Statements []string `json:"statements,omitempty"`
	Code       Code     `json:"code,omitempty"`
	Error      string   `json:"error,omitempty"`
}

// CreateRequest is the body of POST /api/v1/meshes: the charter and the creator's certificate.
type CreateRequest struct {
	Statements []string `json:"statements"`
}

// CreateReply answers it with 201.
type CreateReply struct {
	OK     bool   `json:"ok"`
	MeshID string `json:"mesh_id,omitempty"`
	Code   Code   `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
}
