package protocol

import (
	"encoding/base64"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
)

// LinkPrefix begins every link. There is no https form: the page behind it could read the secret.
const LinkPrefix = "ic://join/"

// Link is a parsed link: a bearer secret, for whoever holds Key may enrol.
type Link struct {
	Invite *Statement
	Inv    *Invite            // Invite's body
	Key    *crypto.PrivateKey // signs the enrolment; never leaves this machine
}

// MakeLink returns the link of an invite statement and the seed of its link key:
//
//	ic://join/ base64url(block("link", invite statement, seed))
//
// about 470 characters. It is a secret. The seed must be that of the invite's link key.
func MakeLink(invite *Statement, seed [32]byte) string {
	inv, ok := invite.Body.(*Invite)
	if !ok || crypto.KeyFromSeed(seed).Public() != inv.Link {
		panic("protocol: link of a statement that is not an invite, or with another link's seed")
	}
	return LinkPrefix + base64URL.EncodeToString(EncodeBlock("link", invite.raw, seed[:]))
}

// parseToken reads what follows the prefix, and returns how much of it is the link: the block says where it ends, and people
// write on without a blank.
func parseToken(token string) (*Link, int, error) {
	if strings.HasPrefix(token, "eyJ") { // base64 of {"
		return nil, 0, errOriginalLink()
	}
	size, err := linkSize(token)
	if err != nil {
		return nil, 0, err
	}
	b, ok := decodeBase64URL(token[:size])
	if !ok {
		return nil, 0, errMangled("a character of it is another, or missing")
	}
	link, err := parseLinkBlock(b)
	return link, size, err
}

// linkSize returns how many characters of the token the block takes that begins there.
func linkSize(token string) (int, error) {
	if len(token)%4 == 1 {
		token = token[:len(token)-1] // belongs to no byte
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return 0, errMangled("it holds characters that a link does not have")
	}
	_, _, rest, err := DecodeBlock(b)
	if err != nil {
		return 0, errMangled("it is cut off, or is no link of claudemesh")
	}
	return base64URL.EncodedLen(len(b) - len(rest)), nil
}

func parseLinkBlock(b []byte) (*Link, error) {
	ctx, parts, _, err := DecodeBlock(b)
	switch {
	case err != nil:
		return nil, errMangled("it is cut off, or is no link of claudemesh")
	case ctx != "link" || len(parts) != 2:
		return nil, errMangled("it holds something else than a link")
	case len(parts[1]) != crypto.SeedSize:
		return nil, errMangled("its secret has the wrong length")
	}
	invite, err := Parse(parts[0])
	if err != nil {
		return nil, errMangled(err.Error())
	}
	inv, ok := invite.Body.(*Invite)
	if !ok {
		return nil, errMangled("it holds a statement of kind " + invite.Kind)
	}
	key := crypto.KeyFromSeed([crypto.SeedSize]byte(parts[1]))
	if key.Public() != inv.Link {
		return nil, errMangled("its secret belongs to another link")
	}
	return &Link{Invite: invite, Inv: inv, Key: key}, nil
}

func errOriginalLink() *Error {
	return Refuse(CodeNotSupported, "this is an invite link of the original claudemesh, whose meshes this client cannot join").
		WithHint("ask for a link made by this claudemesh: claudemesh invite")
}

func errMangled(why string) *Error {
	return Refuse(CodeInvalid, "the link is damaged: %s", why).
		WithHint("copy the whole link again; if that does not help, ask for a new link")
}
