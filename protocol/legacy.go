package protocol

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// Original clients are those of claudemesh 0.1 and 1.37. They sign strings whose fields stand between bars; our keys never
// sign one, the owner key for v1 links excepted.

// MaxLegacyToken is how long a v1 link may be.
const MaxLegacyToken = 4 << 10

// LegacyAttestationLimit is the longest life of an original session's attestation.
const LegacyAttestationLimit = 24 * time.Hour

// LegacyInvite is the payload of a v1 link. Whoever has seen the link may join as member until it expires or is closed.
type LegacyInvite struct {
	V         int    `json:"v"` // 1
	MeshID    string `json:"mesh_id"`
	Slug      string `json:"mesh_slug"`
	BrokerURL string `json:"broker_url"`
	Expires   int64  `json:"expires_at"`    // Unix s
	RootKey   string `json:"mesh_root_key"` // base64url of 32 bytes, which no client uses
	Role      string `json:"role"`
	Owner     string `json:"owner_pubkey"` // hex
	Signature string `json:"signature"`    // hex, by Owner over the other fields
}

func (l *LegacyInvite) signed() []byte {
	return bars(strconv.Itoa(l.V), l.MeshID, l.Slug, l.BrokerURL, strconv.FormatInt(l.Expires, 10), l.RootKey, l.Role, l.Owner)
}

// Verify reports whether the key that the payload names as the owner's signed it.
func (l *LegacyInvite) Verify() bool { return verifyHex(l.Owner, l.signed(), l.Signature) }

func bars(fields ...string) []byte { return []byte(strings.Join(fields, "|")) }

// MakeLegacyInvite makes a v1 link for the role member, good until expires (Unix s), signed by the owner key. The token is
// what the broker knows the link by. Errors are *Error with CodeInvalid.
func MakeLegacyInvite(mesh MeshID, slug, brokerURL string, expires int64, owner *crypto.PrivateKey) (token string, err error) {
	if !mesh.Valid() || !ValidSlug(slug) || strings.ContainsRune(brokerURL, '|') {
		return "", Refuse(CodeInvalid, "a v1 link cannot be made of this mesh, slug or broker")
	}
	l := LegacyInvite{
		V: 1, MeshID: string(mesh), Slug: slug, BrokerURL: brokerURL, Expires: expires,
		RootKey: base64.RawURLEncoding.EncodeToString(crypto.RandomBytes(32)), Role: RoleMember, Owner: owner.Public().String(),
	}
	sig := owner.Sign(l.signed())
	l.Signature = hex.EncodeToString(sig[:])
	b, err := json.Marshal(l)
	if err != nil {
		return "", Refuse(CodeInvalid, "encode a v1 link: %v", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// LegacyLink is how a v1 token is given to people.
func LegacyLink(token string) string { return LinkPrefix + token }

// V1LinkID names a v1 link: nobody can join by its id.
func V1LinkID(token string) string {
	h := crypto.Hash([]byte(token))
	return hex.EncodeToString(h[:])
}

// ParseLegacyToken reads and verifies a token as MakeLegacyInvite made it. Errors are *Error: CodeInvalid, CodeBadSignature.
func ParseLegacyToken(token string) (*LegacyInvite, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	l := new(LegacyInvite)
	if len(token) > MaxLegacyToken || err != nil || json.Unmarshal(b, l) != nil || l.V != 1 || !MeshID(l.MeshID).Valid() {
		return nil, Refuse(CodeInvalid, "not a v1 link")
	}
	if !l.Verify() {
		return nil, Refuse(CodeBadSignature, "the v1 link is not signed by the owner that it names")
	}
	return l, nil
}

// VerifyLegacyHello reports whether the member key signed a plain hello.
func VerifyLegacyHello(meshID, memberID, pubkey string, timestamp int64, signature string) bool {
	return verifyHex(pubkey, bars(meshID, memberID, pubkey, strconv.FormatInt(timestamp, 10)), signature)
}

// VerifyLegacySession reports whether the session key signed a session_hello.
func VerifyLegacySession(meshID, member, session string, timestamp int64, signature string) bool {
	return verifyHex(session, bars("claudemesh-session-hello", meshID, member, session, strconv.FormatInt(timestamp, 10)), signature)
}

// LegacyAttestation is what a member key signs for an original session. It names no mesh: it is good on all where the member
// key is enrolled.
type LegacyAttestation struct {
	Session   string `json:"sessionPubkey"`
	Member    string `json:"parentMemberPubkey"`
	Expires   int64  `json:"expiresAt"` // Unix ms
	Signature string `json:"signature"`
}

// Verify reports whether the member key signed it.
func (a *LegacyAttestation) Verify() bool {
	return verifyHex(a.Member, bars("claudemesh-session-attest", a.Member, a.Session, strconv.FormatInt(a.Expires, 10)), a.Signature)
}

// verifyHex verifies a signature in hex, of either case, by a key in hex.
func verifyHex(key string, msg []byte, signature string) bool {
	pub, err := crypto.ParsePublicKey(key)
	sig, err2 := hex.DecodeString(signature)
	return err == nil && err2 == nil && len(sig) == crypto.SignatureSize && crypto.Verify(pub, msg, crypto.Signature(sig))
}

// LegacyName makes a word to be typed of what an original client calls itself: lower case, with "-" for all that a name may
// not have. It never returns "".
func LegacyName(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() == 0:
		case r == '.', r == '_':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
		if b.Len() == 32 {
			break
		}
	}
	if name := strings.TrimRight(b.String(), "-._"); name != "" {
		return name
	}
	return "nobody"
}

// Verbs of the op statements by which the owner keeps the v1 links of a mesh, with V1LinkOp as their JSON.
const (
	OpV1Make  = "v1link_make"
	OpV1Close = "v1link_close"
	OpV1List  = "v1link_list"
)

// V1LinkOp is what such a statement asks for.
type V1LinkOp struct {
	At    int64  `json:"at"`              // Unix ms: the broker refuses it a minute later
	Token string `json:"token,omitempty"` // OpV1Make
	Uses  int    `json:"uses,omitempty"`  // OpV1Make
	ID    string `json:"id,omitempty"`    // OpV1Close: id of a link, or the first 6 or more of it
}

// V1LinkRequest is the body of POST /api/v1/v1links.
type V1LinkRequest struct {
	Statement string `json:"statement"`
}

// V1LinkReply answers it with all v1 links of the mesh.
type V1LinkReply struct {
	OK    bool         `json:"ok"`
	Links []V1LinkInfo `json:"links"`
}

// V1LinkInfo is a v1 link as the broker knows it. Nobody can join by what stands here.
type V1LinkInfo struct {
	ID      string `json:"id"`
	Uses    int    `json:"uses"`
	Used    int    `json:"used"`
	Expires int64  `json:"expires"` // Unix s
	Closed  bool   `json:"closed"`
}
