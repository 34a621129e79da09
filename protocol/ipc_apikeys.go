package protocol

import "encoding/json"

// APIKeyRequest is the body of POST /v1/apikeys.
type APIKeyRequest struct {
	Mesh         string   `json:"mesh,omitempty"`
	Label        string   `json:"label"`
	Capabilities []string `json:"capabilities"`
	Topics       []string `json:"topics,omitempty"`  // empty: all
	Expires      int64    `json:"expires,omitempty"` // Unix ms; 0: never
}

// APIKeyInfo is one API key as scripts see it, in GET /v1/apikeys. Times are RFC 3339, or null.
type APIKeyInfo struct {
	Mesh         string   `json:"mesh"`
	ID           string   `json:"id"` // its public key
	Label        string   `json:"label"`
	Prefix       string   `json:"prefix"`
	Capabilities []string `json:"capabilities"`
	Topics       []string `json:"topics"` // empty: all
	Member       string   `json:"member"` // name of whose it is
	MemberPubkey string   `json:"member_pubkey"`
	CreatedAt    string   `json:"created_at"`
	LastUsedAt   *string  `json:"last_used_at"`
	ExpiresAt    *string  `json:"expires_at"`
	RevokedAt    *string  `json:"revoked_at"`
	Reason       string   `json:"reason,omitempty"` // why it was revoked
}

// APIKeyMade answers POST /v1/apikeys. It is the one place where the secret is: neither the daemon nor the broker keeps it.
type APIKeyMade struct {
	OK bool `json:"ok"`
	APIKeyInfo
	Secret string `json:"secret"`
	URL    string `json:"url"` // of the broker's REST interface
}

// RevokeAPIKeyRequest is the body of POST /v1/apikeys/revoke.
type RevokeAPIKeyRequest struct {
	Mesh   string `json:"mesh,omitempty"`
	ID     string `json:"id"` // whole, or MinKeyPrefix or more characters of it
	Reason string `json:"reason,omitempty"`
}

// RevokeAPIKeyReply answers it when one key is revoked now. No match and several are refusals, not_found and ambiguous.
type RevokeAPIKeyReply struct {
	OK        bool   `json:"ok"`
	Status    string `json:"status"` // revoked
	Mesh      string `json:"mesh"`
	ID        string `json:"id"`
	Already   bool   `json:"already,omitempty"` // it was before
	RevokedAt string `json:"revoked_at,omitempty"`
	Published bool   `json:"published"`        // the statement is out: peers refuse the key whatever the broker does
	Reason    string `json:"reason,omitempty"` // why it is not
}

// What a user may let a peer do.
const (
	GrantDirect = "dm"        // write to him
	GrantGroup  = "broadcast" // write to groups that he is in, and to everybody
)

// Grants lists them, which is what a peer may about whom nothing was said.
func Grants() []string { return []string{GrantGroup, GrantDirect} }

// GrantInfo is what a peer may, in GET /v1/grants: those only about whom something was said.
type GrantInfo struct {
	Mesh   string   `json:"mesh"`
	Name   string   `json:"name"`
	Pubkey string   `json:"pubkey"`
	May    []string `json:"may"`
}

// GrantRequest is the body of POST /v1/grants. Peer is a member, a session, or an API key.
type GrantRequest struct {
	Mesh   string   `json:"mesh,omitempty"`
	Peer   string   `json:"peer"`
	Grant  []string `json:"grant,omitempty"`
	Revoke []string `json:"revoke,omitempty"`
}

// OpRequest is the body of POST /v1/op: an administrative act that the broker does. Signed is an op statement of the owner
// key's, for the nonce of GET /v1/op; without it the daemon signs with the member key.
type OpRequest struct {
	Mesh   string          `json:"mesh,omitempty"`
	Verb   string          `json:"verb,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	Signed string          `json:"signed,omitempty"`
}

// OpNonce answers GET /v1/op: what an op statement must name. It is good until the next one is asked for.
type OpNonce struct {
	Mesh   string `json:"mesh"`
	MeshID string `json:"mesh_id"`
	Nonce  string `json:"nonce"` // 64 hex digits
}

// OpReply answers POST /v1/op.
type OpReply struct {
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result,omitempty"`
}
