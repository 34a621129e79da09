package protocol

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
)

// Capabilities of an API key.
const (
	KeyCapSend = "send" // seal direct messages
	KeyCapRead = "read" // list peers, members and messages
)

// KeyCaps lists the capabilities that this build gives and knows.
func KeyCaps() []string { return []string{KeyCapRead, KeyCapSend} }

const (
	bearerHead = "cm_"
	secretHalf = 43 // characters of 32 bytes in base64url without padding

	// BearerPrefix is how many characters of a bearer are shown, so that its user can tell which key he holds.
	BearerPrefix = 11

	// MinKeyPrefix is the shortest beginning by which an API key is named.
	MinKeyPrefix = 6
)

// Bearer is the half of an API key's secret that a broker sees with each request, and of which it keeps the hash. It redacts
// itself in logs; Text gives it away.
type Bearer struct{ text string }

// APISecret is a whole API key: what its user keeps. The two halves are independent of each other.
type APISecret struct {
	Bearer Bearer
	Key    *crypto.PrivateKey
}

// NewAPISecret makes a secret of 64 random bytes.
func NewAPISecret() *APISecret {
	return &APISecret{
		Bearer: Bearer{bearerHead + base64.RawURLEncoding.EncodeToString(crypto.RandomBytes(32))},
		Key:    crypto.GenerateKey(),
	}
}

// Text returns cm_<bearer>.<seed>. It is shown once.
func (s *APISecret) Text() string {
	seed := s.Key.Seed()
	return s.Bearer.text + "." + base64.RawURLEncoding.EncodeToString(seed[:])
}

// ParseAPISecret reads what Text wrote. The error does not repeat it.
func ParseAPISecret(text string) (*APISecret, error) {
	head, tail, ok := strings.Cut(strings.TrimSpace(text), ".")
	if !ok {
		return nil, Refuse(CodeInvalid, "this is half of an API key: the whole has a dot")
	}
	b, err := ParseBearer(head)
	if err != nil {
		return nil, err
	}
	seed, err := base64.RawURLEncoding.Strict().DecodeString(tail)
	if err != nil || len(seed) != crypto.SeedSize {
		return nil, Refuse(CodeInvalid, "the second half of the API key is not 43 characters of base64url")
	}
	return &APISecret{Bearer: b, Key: crypto.KeyFromSeed([crypto.SeedSize]byte(seed))}, nil
}

// ParseBearer reads the first half of a secret.
func ParseBearer(text string) (Bearer, error) {
	half, ok := strings.CutPrefix(text, bearerHead)
	if _, err := base64.RawURLEncoding.Strict().DecodeString(half); !ok || err != nil || len(half) != secretHalf {
		return Bearer{}, Refuse(CodeInvalid, "an API key begins with cm_ and 43 characters of base64url")
	}
	return Bearer{text}, nil
}

// Text returns the bearer itself, for an Authorization header.
func (b Bearer) Text() string { return b.text }

// Hash returns SHA-256 of the text, in hex: what a broker keeps.
func (b Bearer) Hash() string {
	sum := sha256.Sum256([]byte(b.text))
	return hex.EncodeToString(sum[:])
}

// Prefix returns the first BearerPrefix characters.
func (b Bearer) Prefix() string { return b.text[:min(BearerPrefix, len(b.text))] }

const hiddenSecret = "cm_[redacted]"

// Format redacts under every verb.
func (Bearer) Format(f fmt.State, _ rune) { f.Write([]byte(hiddenSecret)) }

// MarshalText redacts, too.
func (Bearer) MarshalText() ([]byte, error) { return []byte(hiddenSecret), nil }

// Format redacts under every verb.
func (*APISecret) Format(f fmt.State, _ rune) { f.Write([]byte(hiddenSecret)) }

// MarshalText redacts, too.
func (*APISecret) MarshalText() ([]byte, error) { return []byte(hiddenSecret), nil }

// Can reports whether the key has the capability.
func (a *APIKey) Can(capability string) bool { return slices.Contains(a.Caps, capability) }

// Live reports whether the key is in its time at ms (Unix ms).
func (a *APIKey) Live(ms int64) bool { return a.Expires == 0 || ms <= a.Expires }

// Frame types for API keys.
const (
	TypeAPIKeyCreate  = "apikey_create"
	TypeAPIKeyCreated = "apikey_created"
	TypeAPIKeyList    = "apikey_list"
	TypeAPIKeys       = "apikey_list_response"
	TypeAPIKeyRevoke  = "apikey_revoke"
	TypeAPIKeyRevoked = "apikey_revoke_response"
)

// APIKeyCreate has the broker let a key in. The secret stays with who made it: the broker gets the hash of the bearer, its
// prefix, and the statement that says what the key may do.
type APIKeyCreate struct {
	Tag
	Statement string `json:"statement"`
	Hash      string `json:"hash"`   // SHA-256 of the bearer, 64 hex digits
	Prefix    string `json:"prefix"` // first 11 characters of the bearer
}

// APIKeyCreated answers it.
type APIKeyCreated struct {
	Tag
	APIKeyItem
}

// APIKeyList asks for the keys that the asker may revoke; APIKeys answers, newest first, revoked ones included.
type APIKeyList struct{ Tag }

// APIKeys answers APIKeyList.
type APIKeys struct {
	Tag
	Keys []APIKeyItem `json:"keys"`
}

// APIKeyItem is one key as the broker knows it. Times are RFC 3339 in UTC, or null.
type APIKeyItem struct {
	ID           string   `json:"id"` // its public key, 64 hex digits
	Label        string   `json:"label"`
	Prefix       string   `json:"prefix"`
	Capabilities []string `json:"capabilities"`
	TopicScopes  []string `json:"topicScopes"` // null: all
	CreatedAt    string   `json:"createdAt"`
	LastUsedAt   *string  `json:"lastUsedAt"`
	RevokedAt    *string  `json:"revokedAt"`
	ExpiresAt    *string  `json:"expiresAt"`
	Member       string   `json:"member,omitempty"` // key of the member whose it is
	Reason       string   `json:"reason,omitempty"` // why it was revoked
}

// APIKeyRevoke names a key by its id or by MinKeyPrefix or more characters of it.
type APIKeyRevoke struct {
	Tag
	ID string `json:"id"`
}

// What became of an APIKeyRevoke.
const (
	KeyRevoked   = "revoked"
	KeyNotFound  = "not_found"
	KeyNotUnique = "not_unique" // nothing was revoked
)

// APIKeyRevoked answers APIKeyRevoke.
type APIKeyRevoked struct {
	Tag
	Status    string   `json:"status"`
	ID        string   `json:"id,omitempty"`        // whole, of the key that is revoked
	Matches   []string `json:"matches,omitempty"`   // two ids or more, of not_unique
	Already   bool     `json:"already,omitempty"`   // it was revoked before: nothing changed now
	RevokedAt string   `json:"revokedAt,omitempty"` // of the key, when it was revoked
}
