package inbox

import (
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Waiting stands for one message that is still to be put in front of a session. It is made with the inbox row, in the same transaction, and goes
// when the message was shown, read or deleted.
type Waiting struct {
	Mesh     protocol.MeshID    `json:"mesh"`
	Own      crypto.PublicKey   `json:"own"`
	From     crypto.PublicKey   `json:"from"`
	Sender   crypto.PublicKey   `json:"sender"` // member
	Member   bool               `json:"member"` // for the member: the rows of one machine share it
	Several  bool               `json:"several,omitempty"`
	Group    string             `json:"group,omitempty"` // without @
	Label    string             `json:"label,omitempty"` // of the session that it is for, when it came
	Prio     string             `json:"prio"`
	Held     bool               `json:"held,omitempty"` // kept out of the model's context until the sender is accepted
	Received int64              `json:"received"`       // Unix ms
	Given    map[string]Attempt `json:"given,omitempty"`
}

// Attempt is what became of the message for one session, by the hex of the session's key.
type Attempt struct {
	State string `json:"state"` // taken, lost, or a Settle state
	Rung  string `json:"rung"`
	At    int64  `json:"at"`             // Unix ms
	Life  string `json:"life,omitempty"` // the process that the session lived in: see lifeOf
}

// Await makes the row that stands for a message, in the transaction of its inbox row. Control messages and alarms have none.
func Await(tx *store.Tx, seq uint64, row *Row, msg *protocol.Message) error {
	h := msg.Header()
	if h.Kind == protocol.KindReceipt || h.Kind == protocol.KindLog || h.Kind == protocol.KindCard || h.Kind == protocol.KindPing {
		return nil
	}
	group, several := strings.CutPrefix(h.To, "@")
	if !several {
		group, several = "", h.To == "*"
	}
	return table.PutJSON(tx, table.Waiting, table.U64(seq), Waiting{
		Mesh: row.Mesh, Own: row.Own, From: row.From, Sender: msg.Member(), Member: row.Member, Several: several, Group: group, Prio: h.Prio,
		Held: row.Held != "", Received: row.Received, Label: row.ToSession,
	})
}

func (row *Waiting) Mark(life string, key crypto.PublicKey, state, rung string, at time.Time) {
	if row.Given == nil {
		row.Given = make(map[string]Attempt)
	}
	row.Given[key.String()] = Attempt{State: state, Rung: rung, At: at.UnixMilli(), Life: life}
}

func (row *Waiting) ShownTo(key crypto.PublicKey) bool {
	return row.Given[key.String()].State == protocol.SettleShown
}

// GaveUp says whether the rung itself said that it failed.
func (m Attempt) GaveUp() bool {
	return m.State == protocol.SettleReturned || m.State == protocol.SettleUnproved
}
