package recall

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/recall/source"
)

// Mail is a message that this user has received. Its words are somebody else's: it is found by this
// user, and is told to nobody.
type Mail struct {
	ID   string
	From string // who wrote it, as people read it
	Mesh string
	Text string
	At   time.Time
}

// maxMail is how many bytes of a message are kept.
const maxMail = 8 << 10

// syncMail makes the memory hold these messages, and no other ones: what the user deletes from his
// inbox goes from here as well.
func (m *Memory) syncMail(ctx context.Context, list []Mail) error {
	err := m.change(ctx, func(tx *sql.Tx) error {
		gone, err := mailIDs(tx)
		if err != nil {
			return err
		}
		oldest := m.opts.Now().Add(-m.opts.Keep)
		for _, mail := range list {
			key := "mail-" + mail.ID
			if _, have := gone[key]; have {
				delete(gone, key)
				continue
			}
			if mail.At.Before(oldest) {
				continue
			}
			if err := m.putMail(tx, key, mail); err != nil {
				return err
			}
		}
		for _, id := range gone {
			if err := remove(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index mail: %w", err)
	}
	return nil
}

// putMail stores a message, unless the user made the memory forget it.
func (m *Memory) putMail(tx *sql.Tx, key string, mail Mail) error {
	record := source.RecordHash(key)
	var forgotten bool
	if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM forgotten WHERE hash = ?)", int64(record)).Scan(&forgotten); err != nil || forgotten {
		return err
	}
	e := &source.Episode{Key: key, Agent: "peer", Kind: source.Mail, Prompt: mail.From + " on " + mail.Mesh, Text: Clip(mail.Text, maxMail), Start: mail.At, End: mail.At,
		Secondhand: true, Records: []uint64{record}}
	return put(tx, e, m.clean(e))
}

func mailIDs(tx *sql.Tx) (map[string]int64, error) {
	rows, err := tx.Query("SELECT key, id FROM episode WHERE kind = ?", string(source.Mail))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ids := map[string]int64{}
	for rows.Next() {
		var key string
		var id int64
		if err := rows.Scan(&key, &id); err != nil {
			return nil, err
		}
		ids[key] = id
	}
	return ids, rows.Err()
}
