package protocol

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	encoding "golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// MaxLinkText bounds the text in which a link is looked for.
const MaxLinkText = 64 << 10

// soft is what mail programs, chats and terminals put into the middle of a link: blanks, line breaks, quotation marks,
// escapes, and the frames around quoted text. It is skipped. Anything else that a link does not hold ends the link.
const soft = `[\s"'` + "`" + `\\<>|*\x{2018}-\x{201f}\x{2039}\x{203a}\x{ab}\x{bb}\x{2500}-\x{257f}]*`

var (
	linkPrefix = regexp.MustCompile(`(?i)` + strings.Join(strings.Split(regexp.QuoteMeta(LinkPrefix), ""), soft))
	linkToken  = regexp.MustCompile(`^(?:` + soft + `[0-9A-Za-z_-])+`)
	softOnly   = regexp.MustCompile(soft)
	percent    = regexp.MustCompile(`(?:%` + soft + `[0-9A-Fa-f]` + soft + `[0-9A-Fa-f])+`)
)

// originalLink matches the invite links of the original claudemesh that do not have our prefix: pages of its web site, its own
// scheme, and the token alone, which is base64 of {"v":1.
var originalLink = regexp.MustCompile(`(?i:\bclaudemesh\.com/(?:[a-z-]+/)?(?:i|join)/|\bclaudemesh://(?:i|join)/)|\beyJ2Ijox`)

// FindsLink tells whether the text holds something that looks like a link: whole, damaged, or of the original claudemesh.
func FindsLink(text string) bool {
	if len(text) > MaxLinkText {
		return false
	}
	plain := undress(text)
	return linkPrefix.MatchString(plain) || originalLink.MatchString(plain)
}

// ParseLink finds the link in what people paste: a command line, a mail, Markdown, an address that another program encoded. The
// same link may be there more than once, also cut off. Two different links are refused. It checks that the invite is well
// formed and signed and that the seed is its link's, not whether its signer may invite (only a view can tell) and not the
// broker's URL (see CheckBrokerURL). Errors are *Error with a hint and never repeat the secret.
func ParseLink(text string) (*Link, error) {
	if len(text) > MaxLinkText {
		return nil, Refuse(CodeInvalid, "this is far too long for a link").WithHint("paste the link alone, it begins with %s", LinkPrefix)
	}
	if strings.TrimSpace(text) == "" {
		return nil, Refuse(CodeInvalid, "there is no link").WithHint("paste the whole link, it begins with %s", LinkPrefix)
	}
	tokens := linkTokens(text)
	switch {
	case len(tokens) > 0:
		return oneLink(tokens)
	case originalLink.MatchString(undress(text)):
		return nil, errOriginalLink()
	}
	return nil, Refuse(CodeInvalid, "this is not a claudemesh link").WithHint("paste the whole link, it begins with %s", LinkPrefix)
}

// oneLink returns the one link that the tokens spell. What only repeats the beginning of a whole link is that link, cut off.
func oneLink(tokens []string) (*Link, error) {
	var found *Link
	whole := ""
	for _, t := range tokens {
		link, size, err := parseToken(t)
		if err != nil {
			continue
		}
		if found != nil && found.Invite.ID != link.Invite.ID {
			return nil, errTwoLinks(found.name(), link.name())
		}
		found, whole = link, t[:size]
	}
	for _, t := range tokens {
		_, _, err := parseToken(t)
		switch {
		case err == nil || found != nil && strings.HasPrefix(whole, t):
		case found == nil:
			return nil, err
		default:
			return nil, errTwoLinks(found.name(), fmt.Sprintf("a damaged one, %d characters long", len(LinkPrefix)+len(t)))
		}
	}
	return found, nil
}

// linkTokens returns what follows each prefix in the text, without the soft characters in it.
func linkTokens(text string) []string {
	text = undress(text)
	var tokens []string
	at := linkPrefix.FindAllStringIndex(text, -1)
	for i, span := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		tokens = append(tokens, softOnly.ReplaceAllString(linkToken.FindString(text[span[1]:end]), ""))
	}
	return tokens
}

// undress takes off what cannot be seen, the encodings of other programs, and the dashes that word processors make.
func undress(text string) string {
	text = visible(utf8Of(text))
	for range 3 { // a link in an address in an address
		plain := visible(percent.ReplaceAllStringFunc(html.UnescapeString(text), unescape))
		if plain == text {
			break
		}
		text = plain
	}
	return dashes.Replace(text)
}

var dashes = strings.NewReplacer("—", "--", "–", "-", "‑", "-", "‐", "-", "−", "-")

// utf8Of decodes the UTF-16 of an editor's file, which begins with a byte order mark.
func utf8Of(text string) string {
	plain, _, err := transform.String(encoding.BOMOverride(transform.Nop), text)
	if err != nil {
		return text
	}
	return plain
}

// visible drops the characters that nobody sees and the half ones.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return r
		case unicode.In(r, unicode.Cf, unicode.Cc, unicode.Variation_Selector), r == utf8.RuneError:
			return -1
		}
		return r
	}, text)
}

func unescape(s string) string {
	plain, err := url.PathUnescape(softOnly.ReplaceAllString(s, ""))
	if err != nil {
		return s
	}
	return plain
}

// name tells one link from another and is not secret: the id is the one that `invite list` shows.
func (l *Link) name() string {
	return fmt.Sprintf("link %.8s (to join as %s the mesh %.8s at %s, until %s)", l.Invite.ID, l.Inv.Role, l.Inv.Mesh, BrokerHost(l.Inv.URL),
		TimeOfSeconds(l.Inv.Expires).Local().Format("2006-01-02 15:04"))
}

func errTwoLinks(a, b string) *Error {
	return Refuse(CodeAmbiguous, "there are two different links: %s and %s", a, b).WithHint("paste only the one that you mean")
}
