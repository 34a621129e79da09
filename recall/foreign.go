package recall

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/recall/source"
)

// taint keeps when a peer's words came into a session first. What the session, its sub-agents, and
// the model's notes said from then on counts as second-hand.
func taint(tx *sql.Tx, session string, at time.Time) error {
	ms := max(at.UnixMilli(), 1)
	_, err := tx.Exec(`INSERT INTO session (id, title, private, foreign_at) VALUES (?1, '', 0, ?2) ON CONFLICT DO UPDATE SET
		foreign_at = CASE WHEN foreign_at = 0 THEN ?2 ELSE min(foreign_at, ?2) END`, session, ms)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE episode SET secondhand = 1 WHERE session = ?1 AND ended >= ?2 AND agent <> 'person'
		AND NOT (SELECT released FROM session WHERE id = ?1)`, session, ms)
	return err
}

// provenance sets whether e is second-hand, by what is known of its session.
func provenance(tx *sql.Tx, e *source.Episode) error {
	var at int64
	var released bool
	err := tx.QueryRow("SELECT foreign_at, released FROM session WHERE id = ?", e.Session).Scan(&at, &released)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	e.Secondhand = !released && (e.Secondhand || at != 0 && e.End.UnixMilli() >= at)
	return nil
}

// Release makes what a session learned after a peer's words came into it count as the user's own,
// now and later. It returns how many episodes that changed.
func (m *Memory) Release(ctx context.Context, session string) (int, error) {
	var n int64
	err := m.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO session (id, title, private, released) VALUES (?1, '', 0, 1) ON CONFLICT DO UPDATE SET released = 1", session)
		if err != nil {
			return err
		}
		res, err := tx.Exec("UPDATE episode SET secondhand = 0 WHERE session = ? AND secondhand = 1", session)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("release a session: %w", err)
	}
	return int(n), nil
}
