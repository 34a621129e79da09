package protocol

import "encoding/json"

// RESTError is the body of a refusal of the REST interface. Code is error.api_key_missing, error.api_key_invalid,
// error.api_key_missing_capability, or one of the codes of Error.
type RESTError struct {
	Code       string `json:"code"`
	Message    string `json:"message"`
	Status     int    `json:"status"`
	Timestamp  string `json:"timestamp"`
	Path       string `json:"path"`
	RetryAfter int64  `json:"retry_after_ms,omitempty"`
}

// The codes of RESTError that no other interface has.
const (
	RESTKeyMissing   = "error.api_key_missing"
	RESTKeyInvalid   = "error.api_key_invalid"
	RESTKeyNotEnough = "error.api_key_missing_capability"
)

// RESTKey answers GET /api/v1/key: what a program that holds a secret must know beside it. Statement proves all of it: it is
// signed with the program's own key, too.
type RESTKey struct {
	MeshID       string   `json:"mesh_id"`
	ID           string   `json:"id"`
	Label        string   `json:"label"`
	Capabilities []string `json:"capabilities"`
	Statement    string   `json:"statement"` // for Header.Att
	Time         int64    `json:"time"`      // the broker's clock, Unix ms
}

// RESTLog answers GET /api/v1/log?after=N: statements, the charter first.
type RESTLog struct {
	Statements []string `json:"statements"`
	Cursor     uint64   `json:"cursor"`
	More       bool     `json:"more,omitempty"`
}

// RESTMembers answers GET /api/v1/members.
type RESTMembers struct {
	Members []RESTMember `json:"members"`
}

// RESTMember is a member: fields that are the broker's word, and the statements that prove who he is.
type RESTMember struct {
	MemberID    string `json:"memberId"`
	Pubkey      string `json:"pubkey"`
	DisplayName string `json:"displayName"`
	Role        string `json:"role"`
	IsHuman     bool   `json:"isHuman"`
	JoinedAt    string `json:"joinedAt"`
	Online      bool   `json:"online"`
	Status      string `json:"status"`

	Certs    []string `json:"certs,omitempty"`
	Sessions []string `json:"sessions,omitempty"`
	APIKeys  []string `json:"apikeys,omitempty"`
}

// RESTPeers answers GET /api/v1/peers.
type RESTPeers struct {
	Peers []RESTPeer `json:"peers"`
}

// RESTPeer is one live connection, or an API key that was used a moment ago.
type RESTPeer struct {
	Pubkey       string   `json:"pubkey"`
	DisplayName  string   `json:"displayName"`
	Status       string   `json:"status"`
	Groups       []string `json:"groups"`
	Via          string   `json:"via"` // ws or rest
	MemberPubkey string   `json:"memberPubkey"`
	SessionID    string   `json:"sessionId,omitempty"`
	Statement    string   `json:"statement,omitempty"` // session or apikey
}

// RESTSent answers POST /api/v1/messages, whose body is a send frame: it is on the broker's disk.
type RESTSent struct {
	MessageID string `json:"messageId"`
	ID        string `json:"id"`
	Queued    bool   `json:"queued"`
}

// RESTRow is something that waits for an API key: a push or a receipt frame. Row names it for an acknowledgement.
type RESTRow struct {
	Row   string          `json:"row"`
	Frame json.RawMessage `json:"frame"`
}

// RESTMessages answers GET /api/v1/messages. What is not acknowledged is there again at the next request without after.
type RESTMessages struct {
	Messages []RESTRow `json:"messages"`
	Cursor   string    `json:"cursor"` // for after
}

// RESTAck answers POST /api/v1/messages/ack, whose body is a client_ack frame with a row as brokerMessageId.
type RESTAck struct {
	OK    bool `json:"ok"`
	Acked bool `json:"acked"` // false: it was gone already
}
