package ask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
	"unicode/utf8"
)

// Level is how much of an episode may leave the machine. Higher levels include lower ones.
type Level string

// Levels of sharing.
const (
	None    Level = "none"    // stays silent
	Hint    Level = "hint"    // title, project and date; content only after the person approves
	Excerpt Level = "excerpt" // the redacted passages that match
	Compose Level = "answer"  // also an answer that a model composes from stored episodes
)

func (l Level) rank() int {
	switch l {
	case Hint:
		return 1
	case Excerpt:
		return 2
	case Compose:
		return 3
	}
	return 0
}

// Valid reports whether l is a level.
func (l Level) Valid() bool { return l == None || l.rank() > 0 }

// Limits of what travels, in bytes unless said otherwise. A body beyond them is malformed.
const (
	maxAsk      = 2 << 10 // the whole body of an ask
	MaxQuestion = 1024
	MaxContext  = 512
	MaxTerms    = 32 // number
	MaxTerm     = 200
	maxOffers   = 3 // in one bid
	maxTitle    = 120
	maxProject  = 64
	maxPassages = 3
	maxChanged  = 64 // files
	maxPassage  = 1536
	maxComposed = 4 << 10
	maxBody     = 16 << 10 // any of the bodies
)

// question is the body of an ask.
type question struct {
	V       int      `json:"v"`
	Text    string   `json:"question"`
	Terms   []string `json:"terms,omitempty"`
	Context string   `json:"context,omitempty"`
	Until   int64    `json:"until_ms"` // Unix ms; later bids are not wanted
}

// offer says that a machine can answer. It has no content.
type offer struct {
	ID       string  `json:"id"`       // of this offer, random
	Coverage float64 `json:"coverage"` // how well it fits: a third, two thirds or 1
	At       int64   `json:"at_ms"`    // when the episode ended, Unix ms
	Project  string  `json:"project,omitempty"`
	Title    string  `json:"title,omitempty"`
	Level    Level   `json:"level"` // what a fetch gets at most without the person
}

// bid is the body of a bid: at most three offers, best first.
type bid struct {
	V      int     `json:"v"`
	Offers []offer `json:"offers"`
	More   int     `json:"more,omitempty"` // further episodes that match
}

// fetch is the body of a fetch: it asks for what was offered.
type fetch struct {
	V      int      `json:"v"`
	Offers []string `json:"offers"`
	Follow string   `json:"follow,omitempty"` // a question about them: asks for a composed answer
	Late   bool     `json:"late,omitempty"`   // nobody waits any more: answer the session by mail
}

// What a fetch is answered with.
const (
	StatusOK      = "ok"
	StatusPending = "pending" // the person is asked
	StatusRefused = "refused" // the person, or the policy as it is now, says no
	StatusGone    = "gone"    // the offer is not known any more
	StatusFailed  = "failed"  // it could not be composed
	StatusSpent   = "spent"   // the asker has had all that one person gets in a day, or in 30 days
)

// passage is a quotation from an episode.
type passage struct {
	Text    string `json:"text"`
	Project string `json:"project,omitempty"`
	Title   string `json:"title,omitempty"`
	Branch  string `json:"branch,omitempty"`
	At      int64  `json:"at_ms,omitempty"`
	Changed int    `json:"changed,omitempty"` // files of the episode that were written since
}

// answer is the body of an answer.
type answer struct {
	V        int       `json:"v"`
	Offers   []string  `json:"offers"`
	Status   string    `json:"status"`
	Passages []passage `json:"passages,omitempty"`
	Composed string    `json:"composed,omitempty"`
}

const wireVersion = 1

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// decode reads one JSON object. Unknown fields are allowed: a newer peer may have more to say.
func decode(b []byte, most int, v any) error {
	if len(b) > most {
		return fmt.Errorf("%d bytes, at most %d are possible", len(b), most)
	}
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

func decodeQuestion(b []byte) (q question, err error) {
	if err := decode(b, maxAsk, &q); err != nil {
		return q, err
	}
	return q, q.check()
}

func (q *question) check() error {
	switch {
	case q.V != wireVersion:
		return fmt.Errorf("version %d", q.V)
	case q.Text == "" && len(q.Terms) == 0:
		return errors.New("no question")
	case len(q.Text) > MaxQuestion || len(q.Context) > MaxContext || len(q.Terms) > MaxTerms || !moment(q.Until):
		return errors.New("a field is out of bounds")
	}
	for _, t := range q.Terms {
		if len(t) > MaxTerm {
			return errors.New("a term is too long")
		}
	}
	return nil
}

func decodeBid(b []byte) (d bid, err error) {
	if err := decode(b, maxBody, &d); err != nil {
		return d, err
	}
	if d.V != wireVersion || len(d.Offers) == 0 || len(d.Offers) > maxOffers || d.More < 0 || d.More > 1e6 {
		return d, errors.New("a field is out of bounds")
	}
	for _, o := range d.Offers {
		if !validID(o.ID) || math.IsNaN(o.Coverage) || o.Coverage < 0 || o.Coverage > 1 || !moment(o.At) ||
			len(o.Project) > maxProject || len(o.Title) > maxTitle || o.Level.rank() == 0 {
			return d, errors.New("an offer is out of bounds")
		}
	}
	return d, nil
}

func decodeFetch(b []byte) (f fetch, err error) {
	if err := decode(b, maxBody, &f); err != nil {
		return f, err
	}
	if f.V != wireVersion || !validIDs(f.Offers) || len(f.Follow) > MaxQuestion {
		return f, errors.New("a field is out of bounds")
	}
	return f, nil
}

func decodeAnswer(b []byte) (a answer, err error) {
	if err := decode(b, maxBody, &a); err != nil {
		return a, err
	}
	if a.V != wireVersion || !validIDs(a.Offers) || len(a.Passages) > maxPassages || len(a.Composed) > maxComposed {
		return a, errors.New("a field is out of bounds")
	}
	switch a.Status {
	case StatusOK, StatusPending, StatusRefused, StatusGone, StatusFailed, StatusSpent:
	default:
		return a, errors.New("unknown status")
	}
	for _, p := range a.Passages {
		if len(p.Text) > maxPassage || len(p.Project) > maxProject || len(p.Title) > maxTitle || len(p.Branch) > maxTitle || !moment(p.At) || p.Changed < 0 || p.Changed > maxChanged {
			return a, errors.New("a passage is out of bounds")
		}
	}
	return a, nil
}

func validIDs(ids []string) bool {
	if len(ids) == 0 || len(ids) > maxOffers {
		return false
	}
	for _, id := range ids {
		if !validID(id) {
			return false
		}
	}
	return true
}

// validID is the form of crypto/rand.Text.
func validID(id string) bool {
	if len(id) < 16 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// moment reports whether ms is a time that every encoder can write: 1970 to 9999.
func moment(ms int64) bool { return ms >= 0 && ms < 253402300800000 }

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
