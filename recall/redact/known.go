package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"sync"
)

// Fingerprint tells a secret without holding it: a keyed hash and a length in bytes.
type Fingerprint struct {
	MAC    [16]byte
	Length int
}

// minKnown is the length in bytes from which a value of the environment is taken for a secret.
// Shorter ones ("1", "dev", "secret") stand in ordinary text.
const minKnown = 8

// Known holds fingerprints of secrets that sessions had in their environment. The values are
// nowhere kept. It may be used by several goroutines at once.
type Known struct {
	key []byte

	mu      sync.RWMutex
	lengths map[int]bool
	macs    map[[16]byte]bool
}

// NewKnown returns an empty set. key is secret and the same for all fingerprints of a memory.
func NewKnown(key []byte) *Known {
	return &Known{key: key, lengths: map[int]bool{}, macs: map[[16]byte]bool{}}
}

// Add takes fingerprints into the set and returns those that are new.
func (k *Known) Add(list ...Fingerprint) []Fingerprint {
	k.mu.Lock()
	defer k.mu.Unlock()
	var fresh []Fingerprint
	for _, f := range list {
		if f.Length >= minKnown && !k.macs[f.MAC] {
			k.macs[f.MAC], k.lengths[f.Length] = true, true
			fresh = append(fresh, f)
		}
	}
	return fresh
}

// FromEnvironment returns the fingerprints of the secrets in environ, whose entries are NAME=value.
func FromEnvironment(key []byte, environ []string) []Fingerprint {
	var out []Fingerprint
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if secretName(name) && len(value) >= minKnown && len(value) <= 4096 && !identifier(value) {
			out = append(out, Fingerprint{MAC: mac(key, value), Length: len(value)})
		}
	}
	return out
}

func secretName(name string) bool {
	name = strings.ToUpper(name)
	for _, suffix := range []string{"_TOKEN", "_KEY", "_SECRET", "_PAT", "_CREDENTIALS", "_DSN", "_PASS", "_PWD"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return strings.Contains(name, "PASSWORD") || strings.Contains(name, "PASSWD") || strings.Contains(name, "SECRET") || strings.Contains(name, "APIKEY")
}

func mac(key []byte, value string) [16]byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(value))
	return [16]byte(h.Sum(nil)[:16])
}

// find looks at every stretch of text between separators, and at what follows a separator within it.
func (k *Known) find(text string) []span {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if len(k.macs) == 0 {
		return nil
	}
	var out []span
	for start := 0; start < len(text); {
		end := start
		for end < len(text) && !separator(text[end]) {
			end++
		}
		out = k.within(text, start, end, out)
		start = end + 1
	}
	return out
}

// within tries the stretch and every part of it that begins behind punctuation, for each length known.
func (k *Known) within(text string, start, end int, out []span) []span {
	for at := start; at < end; at++ {
		if at > start && !punctuation(text[at-1]) {
			continue
		}
		for n := range k.lengths {
			if at+n <= end && (at+n == end || punctuation(text[at+n])) && k.macs[mac(k.key, text[at:at+n])] {
				out = append(out, span{at, at + n})
			}
		}
	}
	return out
}

func separator(c byte) bool { return c <= ' ' || c == '"' || c == '\'' || c == '`' }

func punctuation(c byte) bool {
	return strings.IndexByte("=:,;@/()[]{}<>&?|!#%\\.", c) >= 0
}
