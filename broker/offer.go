package broker

import (
	"net/http"

	"github.com/claudemesh/claudemesh/protocol"
)

// maxOffer bounds what one request may offer: each statement costs a signature check.
const maxOffer = 100

// handleOffer takes statements over HTTP, from anybody: they carry their own authority, and only those in force are kept. It
// is how an owner whose own member key was removed takes the mesh back.
func (s *Server) handleOffer(r *http.Request) (int, any, error) {
	var req protocol.OfferRequest
	if err := readBody(r, &req); err != nil {
		return 0, nil, err
	}
	if len(req.Statements) > maxOffer {
		return 0, nil, protocol.Refuse(protocol.CodePayloadTooLarge, "more than %d statements in one request", maxOffer)
	}
	m := s.mesh(req.Mesh)
	if m == nil {
		return 0, nil, protocol.Refuse(protocol.CodeNotFound, "this broker does not carry that mesh")
	}
	var offered []*protocol.Statement
	for _, text := range req.Statements {
		st, err := protocol.ParseTextIn(m.id, text)
		if err == nil {
			err = st.CheckDate(s.now())
		}
		if err != nil {
			return 0, nil, err
		}
		switch st.Kind {
		case protocol.KindOwner, protocol.KindCert, protocol.KindRevoke:
			offered = append(offered, st)
		default:
			return 0, nil, protocol.Refuse(protocol.CodeInvalid, "a statement of kind %s is not offered", st.Kind)
		}
	}
	refused, err := m.publish(offered)
	if err != nil {
		return 0, nil, err
	}
	m.expel()
	for _, st := range offered {
		if err := refused[st.ID]; err != nil {
			return 0, nil, err
		}
	}
	return http.StatusOK, map[string]any{"ok": true}, nil
}
