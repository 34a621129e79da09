package ask

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/store"
)

// Bucket is the bucket of the daemon's store that everything here lies in. The first byte of a key
// says what a row is.
const Bucket = "ask"

const (
	rowIncoming = 'i' // number → Incoming, until it is handled
	rowRule     = 'r' // id → Rule
	rowLog      = 'l' // number → Entry
	rowOffer    = 'o' // id → offerRow, for a day
	rowRequest  = 'q' // id → Request
	rowAsked    = 'a' // id of the ask → Asked
	rowSource   = 's' // member key → sourceRow
	rowGiven    = 'g' // member key → givenRow
)

const (
	keepOffers   = 24 * time.Hour
	keepRequests = 30 * 24 * time.Hour
	keepAsked    = 30 * 24 * time.Hour
	keepLog      = 365 * 24 * time.Hour
	maxQueued    = 1000 // incoming rows; beyond, questions are dropped: a flood is not answered anyway
	maxRules     = 200
	maxLog       = 10_000
)

// Queue puts a message into the store, in the transaction that acknowledges it. Wake must follow the
// commit.
func Queue(tx *store.Tx, in Incoming) error {
	if tx.Count(Bucket, []byte{rowIncoming}) >= maxQueued {
		return nil
	}
	n, err := tx.NextSequence(Bucket)
	if err != nil {
		return err
	}
	return put(tx, numbered(rowIncoming, n), in)
}

func numbered(kind byte, n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{kind}, n) }

func named(kind byte, id string) []byte { return append([]byte{kind}, id...) }

func put(tx *store.Tx, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a row: %w", err)
	}
	return tx.Put(Bucket, key, b)
}

// get reads a row; false when there is none or it cannot be read.
func get[T any](tx *store.Tx, key []byte) (v T, ok bool) {
	b := tx.Peek(Bucket, key)
	return v, b != nil && json.Unmarshal(b, &v) == nil
}

// all returns the rows of a kind that can be read.
func all[T any](tx *store.Tx, kind byte) (out []T) {
	for _, b := range tx.Scan(Bucket, []byte{kind}, nil) {
		var v T
		if json.Unmarshal(b, &v) == nil {
			out = append(out, v)
		}
	}
	return out
}

// next returns the oldest queued message and its key. A row that cannot be read has a key and no message.
func (e *Engine) next() (key []byte, in *Incoming, err error) {
	err = e.db.View(func(tx *store.Tx) error {
		var b []byte
		key, b = tx.First(Bucket, []byte{rowIncoming})
		if key == nil {
			return nil
		}
		in = new(Incoming)
		if json.Unmarshal(b, in) != nil {
			in = nil
		}
		return nil
	})
	return key, in, err
}

// offerRow is what an offer of ours stands for.
type offerRow struct {
	Mesh, Ask, Member string
	From              string // key that asked
	Question          string
	Episode           int64
	Excerpt           string // as it was when it was offered: what the asker gets
	Passage           passage
	Dir               string
	Made              time.Time
	Given             bool // it was fetched: an offer is good for one time
}

// givenRow is what a person got from this machine.
type givenRow struct {
	Days     []givenDay // the last 30, oldest first
	Composed int        // composed answers on the last of them
	Spent    float64    // dollars for these; of everybody only
}

type givenDay struct {
	Day   int64 // since 1970, UTC
	Bytes int
}

const givenDays = 30

// today makes day the last day of g, and returns the bytes of it and of all days.
func (g *givenRow) today(day int64) (today, all int) {
	g.Days = slices.DeleteFunc(g.Days, func(d givenDay) bool { return d.Day <= day-givenDays })
	if n := len(g.Days); n == 0 || g.Days[n-1].Day < day {
		g.Days, g.Composed, g.Spent = append(g.Days, givenDay{Day: day}), 0, 0
	}
	for _, d := range g.Days {
		all += d.Bytes
	}
	return g.Days[len(g.Days)-1].Bytes, all
}

// Request is a follow-up that the person decides about.
type Request struct {
	ID       string    `json:"id"`
	Mesh     string    `json:"mesh"`
	Member   string    `json:"member"`
	Name     string    `json:"name"`
	From     string    `json:"from"`
	Ask      string    `json:"ask"`   // id of the question
	Fetch    string    `json:"fetch"` // id of the follow-up
	Question string    `json:"question"`
	Offers   []string  `json:"offers"`
	Follow   string    `json:"follow,omitempty"`
	Would    string    `json:"would_send"` // the text that an approval sends
	At       time.Time `json:"at"`
	Decided  string    `json:"decided,omitempty"` // approved or denied
}

// Entry is one thing that this machine answered.
type Entry struct {
	N        uint64    `json:"n"`
	At       time.Time `json:"at"`
	Mesh     string    `json:"mesh"`
	Member   string    `json:"member"`
	Name     string    `json:"name"`
	Question string    `json:"question"`
	What     string    `json:"what"` // bid, answer or nothing
	Level    Level     `json:"level,omitempty"`
	Status   string    `json:"status,omitempty"`
	Matched  []string  `json:"matched,omitempty"` // titles
	Reason   string    `json:"reason,omitempty"`  // why nothing left
	Sent     []byte    `json:"sent,omitempty"`    // the exact bytes that were sealed
	Cost     float64   `json:"cost,omitempty"`    // dollars
}

// Asked is a question of this machine's user, with what came of it.
type Asked struct {
	ID       string    `json:"id"`
	Mesh     string    `json:"mesh"`
	Question string    `json:"question"`
	To       string    `json:"to"`
	Session  string    `json:"session,omitempty"`
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"`
	People   int       `json:"people"`
	Online   int       `json:"online"`
	Members  []string  `json:"members"` // keys of who was asked: nobody else's bid counts
	Offers   []Offer   `json:"offers"`
	Fetched  int       `json:"fetched"` // offers that were fetched
	Answers  []Answer  `json:"answers"`
}

// Offer is a bid of a peer, as the asker keeps it.
type Offer struct {
	ID       string    `json:"id"`
	Member   string    `json:"member"`
	Name     string    `json:"name"`
	Coverage float64   `json:"coverage"`
	At       time.Time `json:"at,omitzero"`
	Project  string    `json:"project,omitempty"`
	Title    string    `json:"title,omitempty"`
	Level    Level     `json:"level"`
	Status   string    `json:"status,omitempty"` // of its fetch
	Rated    string    `json:"rated,omitempty"`
}

// Answer is what a peer's memory said. Its texts are the peer's: data, never instructions.
type Answer struct {
	Offer    string    `json:"offer"`
	Member   string    `json:"member"`
	Name     string    `json:"name"`
	Text     string    `json:"text"`
	Project  string    `json:"project,omitempty"`
	Title    string    `json:"title,omitempty"`
	Branch   string    `json:"branch,omitempty"`
	At       time.Time `json:"at,omitzero"`
	Changed  int       `json:"changed,omitempty"`
	Composed bool      `json:"composed,omitempty"` // written by a model from the peer's episodes
}

// sourceRow is what this machine's user thinks of a peer's answers.
type sourceRow struct {
	Asked, Bids, Useful, Wrong int
}

// weight scales the rank of a peer's offers. Who bids on most of what he is asked is ranked down.
func (s sourceRow) weight() float64 {
	w := 1 + 0.1*float64(s.Useful) - 0.3*float64(s.Wrong)
	if s.Asked >= 10 && s.Bids*10 > s.Asked*7 && s.Useful*4 < s.Bids {
		w *= 0.5
	}
	return min(max(w, 0.1), 1.5)
}

// enter writes an entry of the log.
func (e *Engine) enter(tx *store.Tx, entry Entry) error {
	n, err := tx.NextSequence(Bucket)
	if err != nil {
		return err
	}
	entry.N, entry.At = n, e.now().UTC()
	return put(tx, numbered(rowLog, n), entry)
}

// sweep removes what is old.
func (e *Engine) sweep() error {
	now := e.now()
	return e.db.Update(func(tx *store.Tx) error {
		var gone [][]byte
		old := func(kind byte, keep time.Duration, at func(b []byte) time.Time) {
			for k, b := range tx.Scan(Bucket, []byte{kind}, nil) {
				if now.Sub(at(b)) > keep {
					gone = append(gone, slices.Clone(k))
				}
			}
		}
		old(rowOffer, keepOffers, func(b []byte) time.Time { var r offerRow; return stamp(json.Unmarshal(b, &r), r.Made) })
		old(rowRequest, keepRequests, func(b []byte) time.Time { var r Request; return stamp(json.Unmarshal(b, &r), r.At) })
		old(rowAsked, keepAsked, func(b []byte) time.Time { var r Asked; return stamp(json.Unmarshal(b, &r), r.At) })
		old(rowLog, keepLog, func(b []byte) time.Time { var r Entry; return stamp(json.Unmarshal(b, &r), r.At) })
		extra := tx.Count(Bucket, []byte{rowLog}) - maxLog
		for k := range tx.Scan(Bucket, []byte{rowLog}, nil) {
			if extra <= 0 {
				break
			}
			gone = append(gone, slices.Clone(k))
			extra--
		}
		for _, k := range gone {
			if err := tx.Delete(Bucket, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// stamp is the time of a row; one that cannot be read is old.
func stamp(err error, t time.Time) time.Time {
	if err != nil {
		return time.Time{}
	}
	return t
}

// Log returns the newest entries, at most limit, newest first.
func (e *Engine) Log(limit int) (out []Entry, err error) {
	err = e.db.View(func(tx *store.Tx) error {
		for _, b := range tx.ScanBack(Bucket, []byte{rowLog}, nil) {
			var entry Entry
			if len(out) >= limit {
				return nil
			}
			if json.Unmarshal(b, &entry) == nil {
				out = append(out, entry)
			}
		}
		return nil
	})
	return out, err
}

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// LogEntry returns one entry, with the exact bytes that left. It returns ErrNotFound.
func (e *Engine) LogEntry(n uint64) (entry Entry, err error) {
	err = e.db.View(func(tx *store.Tx) error {
		var ok bool
		if entry, ok = get[Entry](tx, numbered(rowLog, n)); !ok {
			return ErrNotFound
		}
		return nil
	})
	return entry, err
}

// Rules returns what the person allowed.
func (e *Engine) Rules() (rules []Rule, err error) {
	err = e.db.View(func(tx *store.Tx) error { rules = all[Rule](tx, rowRule); return nil })
	return rules, err
}

// Share adds a rule, or replaces the one for the same mesh, directory and people.
func (e *Engine) Share(r Rule) (Rule, error) {
	r.With = slices.Compact(slices.Sorted(slices.Values(r.With)))
	r.Added = e.now().UTC()
	err := e.db.Update(func(tx *store.Tx) error {
		rules := all[Rule](tx, rowRule)
		r.ID = newID()[:8]
		for _, have := range rules {
			if have.Mesh == r.Mesh && have.Dir == r.Dir && slices.Equal(have.With, r.With) {
				r.ID = have.ID
			}
		}
		if len(rules) >= maxRules {
			return fmt.Errorf("%d rules; remove some first", len(rules))
		}
		return put(tx, named(rowRule, r.ID), r)
	})
	return r, err
}

// Unshare removes rules of a mesh: those for dir, or all of the mesh with dir "*". It returns how many went.
func (e *Engine) Unshare(mesh, dir string) (n int, err error) {
	err = e.db.Update(func(tx *store.Tx) error {
		n = 0
		for _, r := range all[Rule](tx, rowRule) {
			if r.Mesh != mesh || dir != "*" && r.Dir != dir {
				continue
			}
			if err := tx.Delete(Bucket, named(rowRule, r.ID)); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// find returns the one row whose id begins with prefix.
func find[T any](tx *store.Tx, kind byte, prefix string) (v T, err error) {
	n := 0
	for k, b := range tx.Scan(Bucket, named(kind, strings.ToUpper(prefix)), nil) {
		if n++; n > 1 || len(prefix) < 4 && len(k) != len(prefix)+1 {
			return v, fmt.Errorf("%q names more than one", prefix)
		}
		if err := json.Unmarshal(b, &v); err != nil {
			return v, err
		}
	}
	if n == 0 {
		return v, ErrNotFound
	}
	return v, nil
}
