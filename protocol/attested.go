package protocol

import "sync"

// How many attestations are remembered, of more live sessions than most meshes have, and how long they may be: 2 MiB in all.
const (
	maxAttested     = 1024
	maxAttestedSize = 2 << 10
)

// Attested remembers attestations whose signatures were verified: a session sends the same one with every message for hours,
// and the two signatures on it cost three times what the rest of a message does. It remembers nothing that a view decides. The
// zero value is ready; nil remembers nothing. Safe for concurrent use.
type Attested struct {
	mu   sync.Mutex
	seen map[string]*Statement
}

// parse is ParseTextIn, once for each text.
func (a *Attested) parse(mesh MeshID, text string) (*Statement, error) {
	if a == nil {
		return ParseTextIn(mesh, text)
	}
	a.mu.Lock()
	s, ok := a.seen[text]
	a.mu.Unlock()
	if ok && s.Mesh() == mesh {
		return s, nil
	}
	s, err := ParseTextIn(mesh, text)
	if err != nil || len(text) > maxAttestedSize {
		return s, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil || len(a.seen) >= maxAttested {
		a.seen = make(map[string]*Statement) // all anew: simpler than to choose, and as rare as a thousand new sessions
	}
	a.seen[text] = s
	return s, nil
}
