package protocol

import (
	"strconv"
	"strings"
)

// A rule is what a text field must look like, for machines and in words.
type rule struct {
	ok    func(string) bool
	words string
}

var (
	ruleMesh    = rule{func(s string) bool { return MeshID(s).Valid() }, "32 of 0-9 A-Z a-z"}
	ruleName    = rule{ValidName, "1 to 32 of a-z 0-9 . _ -, beginning with a letter or digit, and not 6 or more hex digits alone"}
	ruleLabel   = rule{ValidLabel, "1 to 32 of a-z 0-9 . _ -, beginning with a letter or digit"}
	ruleSlug    = rule{ValidSlug, "1 to 32 of a-z 0-9 -, beginning with a letter or digit"}
	ruleGroup   = rule{ValidGroup, "1 to 64 of a-z 0-9 . _ / -, beginning with a letter or digit"}
	ruleFeature = rule{ValidFeature, "1 to 32 of a-z 0-9 _"}
	ruleReason  = rule{ValidReason, "at most 200 printable ASCII characters"}
	ruleHost    = rule{validHost, "host or host:port in lower case"}
	ruleURL     = rule{validURL, "wss:// or ws://, at most 256 printable ASCII characters without space and |"}
	ruleRole    = rule{func(s string) bool { return s == RoleAdmin || s == RoleMember }, "admin or member"}
	ruleRevoke  = rule{func(s string) bool { return s == RevokeKey || s == RevokeAdmin || s == RevokeLink }, "key, admin or link"}
)

// Roles that a certificate or a link gives.
const (
	RoleAdmin  = "admin"
	RoleMember = "member"
)

// What a revoke takes away.
const (
	RevokeKey   = "key"   // all trust in the key, for ever
	RevokeAdmin = "admin" // what the key may do as an admin; it stays a member
	RevokeLink  = "link"  // the link
)

// MinKeyHead is how many hex digits of a key name it. A shorter beginning is no name of a key.
const MinKeyHead = 6

// ValidName reports whether s may be a member's name: [a-z0-9][a-z0-9._-]{0,31}, and not LikeKey.
func ValidName(s string) bool { return ValidLabel(s) && !LikeKey(s) }

// ValidLabel reports whether s may be the label of a session or API key: [a-z0-9][a-z0-9._-]{0,31}.
func ValidLabel(s string) bool { return validWord(s, 32, "._-") }

// LikeKey reports whether s may be the beginning of a key. A member of such a name would get what is meant for another.
func LikeKey(s string) bool {
	return len(s) >= MinKeyHead && only(s, func(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' })
}

// ValidSlug reports whether s may be a mesh's slug: [a-z0-9][a-z0-9-]{0,31}.
func ValidSlug(s string) bool { return validWord(s, 32, "-") }

// ValidGroup reports whether s may be the name of a group or topic: [a-z0-9][a-z0-9._/-]{0,63}.
func ValidGroup(s string) bool { return validWord(s, 64, "._/-") }

// ValidFeature reports whether s may name a feature or an API key's capability: [a-z0-9_]{1,32}.
func ValidFeature(s string) bool {
	return len(s) >= 1 && len(s) <= 32 && only(s, func(c byte) bool { return lowerOrDigit(c) || c == '_' })
}

// ValidReason reports whether s may be a reason or a verb: at most 200 printable ASCII characters.
func ValidReason(s string) bool { return len(s) <= 200 && only(s, printable) }

// ValidWireID reports whether s may name something in a frame: 1 to 128 of [0-9A-Za-z_.:-].
func ValidWireID(s string) bool {
	return len(s) >= 1 && len(s) <= maxWireID && only(s, func(c byte) bool { return byteClasses[c]&idClass != 0 })
}

// validWord reports whether s is a letter or digit followed by at most max-1 of these or of more.
func validWord(s string, max int, more string) bool {
	return len(s) >= 1 && len(s) <= max && lowerOrDigit(s[0]) &&
		only(s, func(c byte) bool { return lowerOrDigit(c) || strings.IndexByte(more, c) >= 0 })
}

// validURL is the rule of the signed bytes. Who makes or follows a link asks CheckBrokerURL, which is stricter.
func validURL(s string) bool {
	rest, ok := strings.CutPrefix(s, "wss://")
	if !ok {
		rest, ok = strings.CutPrefix(s, "ws://")
	}
	return ok && rest != "" && len(s) <= 256 &&
		only(s, func(c byte) bool { return printable(c) && c != ' ' && c != '|' })
}

// validHost reports whether s is host[:port] as an HTTP client writes it into the Host header, in lower case.
func validHost(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && inner != "" && len(inner) <= 45 &&
			only(inner, func(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' || c == ':' || c == '.' })
	}
	return host != "" && len(host) <= 253 &&
		only(host, func(c byte) bool { return lowerOrDigit(c) || c == '.' || c == '-' || c == '_' })
}

func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func digit(c byte) bool        { return c >= '0' && c <= '9' }
func lowerOrDigit(c byte) bool { return digit(c) || c >= 'a' && c <= 'z' }
func printable(c byte) bool    { return c >= ' ' && c <= '~' }
