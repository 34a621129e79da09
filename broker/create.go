package broker

import (
	"net/http"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// handleCreate makes a mesh of a charter and what its owner signed with it. The bearer of the admin token decides that this
// broker carries the mesh; whose it is, the charter says.
func (s *Server) handleCreate(r *http.Request) (int, any, error) {
	if !s.isAdmin(r) {
		return 0, nil, protocol.Refuse(protocol.CodeUnauthorized, "creating a mesh needs this broker's admin token").
			WithHint("it lies in %s in the broker's data directory", adminTokenFile)
	}
	var req protocol.CreateRequest
	if err := readBody(r, &req); err != nil {
		return 0, nil, err
	}
	log, err := charterFirst(req.Statements)
	if err != nil {
		return 0, nil, err
	}
	m, err := newMesh(s, log)
	if err != nil {
		return 0, nil, err
	}
	for _, st := range log[1:] {
		if err := st.CheckDate(s.now()); err != nil {
			return 0, nil, err
		}
		if !m.view.InForce(st.ID) {
			return 0, nil, protocol.Refuse(protocol.CodeForbidden, "the %s statement is not in force: who signed it may not say that", st.Kind)
		}
	}
	if s.mesh(m.id) != nil {
		return 0, nil, protocol.Refuse(protocol.CodeExists, "the mesh %s is here already", m.id)
	}
	err = s.db.Commit(func(tx *store.Tx) error {
		if tx.Peek(bucketStatements, numberKey(m.id, 1)) != nil {
			return protocol.Refuse(protocol.CodeExists, "the mesh %s is here already", m.id)
		}
		return putStatements(tx, m.id, 1, log)
	})
	if err != nil {
		return 0, nil, s.storeError("save mesh", err)
	}
	s.mu.Lock()
	s.meshes[m.id] = m
	s.mu.Unlock()
	m.note(auditCreated, m.view.Owner(), auditDetail{Label: log[0].Body.(*protocol.Charter).Slug})
	m.noteStatements(log[1:])
	s.log.Info("mesh created", "mesh", m.id)
	return http.StatusCreated, protocol.CreateReply{OK: true, MeshID: string(m.id)}, nil
}

// charterFirst parses the statements of a new mesh and puts its charter in front.
func charterFirst(texts []string) ([]*protocol.Statement, error) {
	log := make([]*protocol.Statement, 1, len(texts)+1)
	for _, text := range texts {
		st, err := protocol.ParseText(text)
		if err != nil {
			return nil, err
		}
		if st.Kind != protocol.KindCharter {
			log = append(log, st)
			continue
		}
		if log[0] != nil {
			return nil, protocol.Refuse(protocol.CodeInvalid, "two charters")
		}
		log[0] = st
	}
	if log[0] == nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "a mesh begins with a charter")
	}
	return log, nil
}
