package recall

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/recall/source"
)

// Authors of a note.
const (
	ByPerson = "person"
	ByModel  = "model"
)

// MaxNote is how many bytes a note may have.
const MaxNote = 16 << 10

// NewNote is what remember stores.
type NewNote struct {
	Text    string
	By      string // ByPerson or ByModel
	Session string // in which it was written; may be empty
	Dir     string
	Branch  string
}

// Remember stores a note and returns its id. It is redacted as everything else, and kept until it is
// forgotten.
func (m *Memory) Remember(ctx context.Context, n NewNote) (id int64, removed int, err error) {
	if strings.TrimSpace(n.Text) == "" {
		return 0, 0, errors.New("an empty note")
	}
	if len(n.Text) > MaxNote {
		return 0, 0, fmt.Errorf("a note of %d bytes; at most %d", len(n.Text), MaxNote)
	}
	now := m.opts.Now()
	e := &source.Episode{Key: "note-" + rand.Text(), Agent: n.By, Session: n.Session, Dir: n.Dir, Branch: n.Branch, Kind: source.Note,
		Text: n.Text, Start: now, End: now}
	removed = m.clean(e)
	err = m.change(ctx, func(tx *sql.Tx) error {
		if n.By == ByModel && n.Session != "" {
			if err := provenance(tx, e); err != nil {
				return err
			}
		}
		if err := put(tx, e, removed); err != nil {
			return err
		}
		return tx.QueryRow("SELECT id FROM episode WHERE key = ?", e.Key).Scan(&id)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("remember: %w", err)
	}
	return id, removed, nil
}
