package mesh

import (
	"bytes"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// content is a digest of what a draft says, without whom it is for: the text is not kept once everybody has it.
func (d *draft) content() []byte {
	hash := crypto.Hash(protocol.EncodeBlock("content", []byte(d.priority), []byte(d.kind), d.meta, d.body, []byte(strings.Join(d.fileIDs, " "))))
	return hash[:]
}

// repeated answers a request whose client id is that of row: with what became of it where it is the same message, and
// with a refusal where it is another. Nothing of it is sent in either case.
func (m *Mesh) repeated(row *outRow, req protocol.SendRequest) (protocol.SendResult, error) {
	if !m.isRepeat(row, req) {
		return protocol.SendResult{}, errOtherMessage(row)
	}
	return m.result(row), nil
}

func errOtherMessage(row *outRow) error {
	return protocol.Refuse(protocol.CodeExists, "the client id %s was used for another message, to %s", row.ID, row.Name).
		WithHint("a client id names one message: use a new one, or repeat the same target and text")
}

// is reports whether row, which a request of the same moment may have made, is the message of d.
func (r *outRow) is(d *draft) bool {
	return r.To == d.to && r.ReplyTo == d.replyTo && bytes.Equal(r.Content, d.content())
}

// isRepeat reports whether req asks for the message in row. The target may be written in another way.
func (m *Mesh) isRepeat(row *outRow, req protocol.SendRequest) bool {
	d := &draft{priority: req.Priority, kind: req.Kind, meta: givenMeta(req), body: []byte(req.Body), fileIDs: req.Files}
	if d.priority == "" {
		d.priority = protocol.PriorityNext
	}
	to, replyTo := m.answered(req)
	if !bytes.Equal(d.content(), row.Content) || replyTo != row.ReplyTo {
		return false
	}
	if req.To == row.Asked || to == row.To {
		return true
	}
	t, err := m.Resolve(to)
	return err == nil && t.Spec == row.To
}

// answered returns whom a request is for and which message it answers, as far as that is known here.
func (m *Mesh) answered(req protocol.SendRequest) (to, replyTo string) {
	to, replyTo = req.To, req.ReplyTo
	if replyTo == "" {
		return to, ""
	}
	if original, err := m.env.Mail.Find(replyTo); err == nil {
		replyTo = original.ID
		if to == "" {
			to = original.From.Pubkey
		}
	}
	return to, replyTo
}

// givenMeta is the meta of a request, nil for none.
func givenMeta(req protocol.SendRequest) []byte {
	if meta := string(req.Meta); meta == "" || meta == "null" || meta == "{}" {
		return nil
	}
	return req.Meta
}
