package protocol

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// StateRefused is a receipt's word for a message that its recipient will not take. The sender's row is dead.
const StateRefused State = "refused"

// Limits of control bodies. They are written by machines, so what passes them is an error and not cut.
const (
	maxReceipts    = 256 // in one envelope
	maxReasonBytes = 200
	maxCardBytes   = 4 << 10
)

// ReceiptBody is what became of one message, in the recipient's word.
type ReceiptBody struct {
	ID     string `json:"id"` // client id
	State  State  `json:"state"`
	At     int64  `json:"at"`               // Unix ms
	Rung   string `json:"rung,omitempty"`   // with shown: how
	Reason string `json:"reason,omitempty"` // with refused: why
}

func (r *ReceiptBody) check() error {
	switch r.State {
	case StateDelivered, StateShown, StateRead, StateRefused:
	default:
		return fmt.Errorf("%q is not a state of a receipt", r.State)
	}
	switch {
	case !ValidClientID(r.ID):
		return errors.New("a receipt without the id of a message")
	case r.At <= 0:
		return errors.New("a receipt without a time")
	case r.At > MaxMillis:
		return errors.New("a receipt with a time after the year 9999")
	case len(r.Rung) > maxReasonBytes || len(r.Reason) > maxReasonBytes:
		return errors.New("a receipt with a long text")
	}
	return nil
}

// EncodeReceipts returns the body of an envelope of KindReceipt. Errors are *Error with CodeInvalid.
func EncodeReceipts(receipts []ReceiptBody) ([]byte, error) {
	if len(receipts) == 0 || len(receipts) > maxReceipts {
		return nil, Refuse(CodeInvalid, "%d receipts in one message, 1 to %d are possible", len(receipts), maxReceipts)
	}
	for i := range receipts {
		if err := receipts[i].check(); err != nil {
			return nil, Refuse(CodeInvalid, "receipts: %v", err)
		}
	}
	b, err := json.Marshal(receipts)
	if err != nil {
		return nil, fmt.Errorf("write receipts: %w", err)
	}
	if len(b) > MaxBody {
		return nil, Refuse(CodeInvalid, "receipts: %d bytes, at most %d are possible", len(b), MaxBody)
	}
	return b, nil
}

// Receipts returns the body of a message of KindReceipt. Receipts that are not in order are left out, and the
// error, an *Error with CodeInvalid, says why the first of them is: the others count all the same. They count
// only for messages whose recipient is m.Member: that is for the caller to check. Rung and Reason are a peer's
// text: Neutralize before showing them.
func (m *Message) Receipts() (receipts []ReceiptBody, err error) {
	if err := m.wantKind(KindReceipt); err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(m.body, &items); err != nil || len(items) == 0 || len(items) > maxReceipts {
		return nil, Refuse(CodeInvalid, "receipts: not a list of 1 to %d", maxReceipts)
	}
	receipts = make([]ReceiptBody, 0, len(items))
	for _, item := range items {
		var r ReceiptBody
		if bad := decodeReceipt(&r, item); bad == nil {
			receipts = append(receipts, r)
		} else if err == nil {
			err = Refuse(CodeInvalid, "receipts: %v", bad)
		}
	}
	return receipts, err
}

func decodeReceipt(r *ReceiptBody, b []byte) error {
	_, err := readObject(b, func(name string, v *valueReader) (err error) {
		switch name {
		case "id":
			r.ID, err = v.text()
		case "state":
			var s string
			s, err = v.text()
			r.State = State(s)
		case "at":
			var n uint64
			n, err = v.integer()
			r.At = int64(n)
		case "rung":
			r.Rung, err = v.text()
		case "reason":
			r.Reason, err = v.text()
		default:
			err = v.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.check()
}

// EncodeLog returns bodies of envelopes of KindLog that carry statements to a peer: JSON lists of base64url. What others rest
// on comes first, so that a peer who takes one body after the other need not set anything aside.
// A statement too long for any body is left out: only the broker carries it.
func EncodeLog(statements []*Statement) [][]byte {
	statements = slices.Clone(statements)
	slices.SortStableFunc(statements, func(a, b *Statement) int { return cmp.Compare(restsOn(a), restsOn(b)) })
	var bodies [][]byte
	var list []string
	raw, text := 0, 2
	flush := func() {
		if len(list) == 0 {
			return
		}
		b, err := json.Marshal(list)
		if err != nil {
			panic("protocol: a list of base64url is not JSON")
		}
		bodies, list, raw, text = append(bodies, b), nil, 0, 2
	}
	for _, s := range statements {
		t, n := s.Text(), len(s.Raw())
		if n > MaxLogMessage || len(t)+4 > MaxBody {
			continue
		}
		if raw+n > MaxLogMessage || text+len(t)+3 > MaxBody {
			flush()
		}
		list, raw, text = append(list, t), raw+n, text+len(t)+3
	}
	flush()
	return bodies
}

// restsOn orders the kinds of a log: hand-overs by their number, admins, removals, members.
func restsOn(s *Statement) uint64 {
	const behind = 1 << 53 // hand-overs
	switch b := s.Body.(type) {
	case *OwnerChange:
		return b.N
	case *Cert:
		if b.Role == RoleAdmin {
			return behind
		}
		return behind + 2
	}
	return behind + 1
}

// LogStatements returns the statements in a message of KindLog. One that this build cannot read is left out:
// each stands alone. None has authority by having come this way.
func (m *Message) LogStatements() ([]*Statement, error) {
	if err := m.wantKind(KindLog); err != nil {
		return nil, err
	}
	var texts []string
	if err := json.Unmarshal(m.body, &texts); err != nil {
		return nil, Refuse(CodeInvalid, "log: not a list of statements")
	}
	statements := make([]*Statement, 0, len(texts))
	for _, t := range texts {
		if s, err := ParseText(t); err == nil {
			statements = append(statements, s)
		}
	}
	return statements, nil
}

// Card is what a session tells verified members of itself. All of it is a peer's text: Neutralize before showing it.
type Card struct {
	Summary   string `json:"summary,omitempty"`
	Cwd       string `json:"cwd,omitempty"`
	Host      string `json:"host,omitempty"`
	Model     string `json:"model,omitempty"`
	Title     string `json:"title,omitempty"`
	SessionID string `json:"session_id,omitempty"`
}

// EncodeCard returns the body of an envelope of KindCard, at most 4 KiB. Errors are *Error with CodePayloadTooLarge.
func EncodeCard(c *Card) ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write card: %w", err)
	}
	if len(b) > maxCardBytes {
		return nil, Refuse(CodePayloadTooLarge, "card of %d bytes, at most %d are possible", len(b), maxCardBytes)
	}
	return b, nil
}

// maxCardText is how many characters of each field of a card are taken: a card is a line, not a letter.
const maxCardText = 200

// Card returns the body of a message of KindCard, its fields cut at 200 characters.
func (m *Message) Card() (*Card, error) {
	if err := m.wantKind(KindCard); err != nil {
		return nil, err
	}
	if len(m.body) > maxCardBytes {
		return nil, Refuse(CodeInvalid, "card: longer than %d bytes", maxCardBytes)
	}
	c := new(Card)
	fields := map[string]*string{
		"summary": &c.Summary, "cwd": &c.Cwd, "host": &c.Host, "model": &c.Model, "title": &c.Title, "session_id": &c.SessionID,
	}
	_, err := readObject(m.body, func(name string, v *valueReader) (err error) {
		if f := fields[name]; f != nil {
			*f, err = v.text()
			return err
		}
		return v.skip()
	})
	if err != nil {
		return nil, Refuse(CodeInvalid, "card: %v", err)
	}
	for _, f := range fields {
		if r := []rune(*f); len(r) > maxCardText {
			*f = string(r[:maxCardText])
		}
	}
	return c, nil
}

// MemoryBody returns the body of a message whose kind is a MemoryKind, unchecked: the package that
// answers it decodes it.
func (m *Message) MemoryBody() ([]byte, error) {
	if !MemoryKind(m.header.Kind) {
		return nil, Refuse(CodeInvalid, "a message of kind %q is not of the memory", m.header.Kind)
	}
	return m.body, nil
}

func (m *Message) wantKind(kind string) error {
	if m.header.Kind != kind {
		return Refuse(CodeInvalid, "a message of kind %q is not a %s", m.header.Kind, kind)
	}
	return nil
}
