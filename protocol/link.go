package protocol

import (
	"strings"
	"unicode"

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
		panic("protocol: link of a statement that is no invite, or with another link's seed")
	}
	return LinkPrefix + base64URL.EncodeToString(EncodeBlock("link", invite.raw, seed[:]))
}

// ParseLink reads a link as people paste it: blanks, line breaks, quotes and angle brackets around or within are dropped. It
// checks that the invite is well formed and signed and that the seed is its link's, not whether its signer may invite (only a
// view can tell) and not the broker's URL (see CheckBrokerURL). Errors are *Error with a hint and never repeat the input.
func ParseLink(s string) (*Link, error) {
	token, err := linkToken(s)
	if err != nil {
		return nil, err
	}
	b, ok := decodeBase64URL(token)
	if !ok {
		return nil, errMangled("it holds characters that a link does not have, or misses some at its end")
	}
	ctx, parts, rest, err := DecodeBlock(b)
	switch {
	case err != nil:
		return nil, errMangled("it is cut off, or is no link of claudemesh")
	case ctx != "link" || len(parts) != 2:
		return nil, errMangled("it holds something else than a link")
	case len(rest) != 0:
		return nil, errMangled("there is something behind it")
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

// linkToken returns what follows the prefix of a pasted link.
func linkToken(s string) (string, error) {
	if len(s) > 2*base64URL.EncodedLen(MaxStatement) {
		return "", errMangled("it is far too long")
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`<>"'`+"`", r) {
			return -1
		}
		return r
	}, s)
	token, ok := strings.CutPrefix(s, LinkPrefix)
	switch {
	case s == "":
		return "", Refuse(CodeInvalid, "there is no link").WithHint("paste the whole link, it begins with %s", LinkPrefix)
	case !ok:
		return "", Refuse(CodeInvalid, "this is not a claudemesh link").WithHint("paste the whole link, it begins with %s", LinkPrefix)
	case strings.HasPrefix(token, "eyJ"): // base64 of {"
		return "", Refuse(CodeNotSupported, "this link is of the original claudemesh, whose meshes this client does not join").
			WithHint("ask for a link made by this claudemesh")
	}
	return token, nil
}

func errMangled(why string) *Error {
	return Refuse(CodeInvalid, "the link is damaged: %s", why).
		WithHint("copy the whole link again; if that does not help, ask for a new link")
}
