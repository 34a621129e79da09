package broker

import (
	"encoding/binary"
	"fmt"

	"github.com/claudemesh/claudemesh/broker/blobs"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Buckets of broker.db; those of the queue and of the blobs are their own. A mesh id is its 32 characters.
//
//	statements  mesh number(8 big-endian) → statement: the log, the charter is number 1
//	enrols      mesh member(32)           → number(8 big-endian), u32be length of invite, invite, enrol
//	sessions    mesh key(32)              → newest session statement of that key
//	seen        mesh member(32)           → Unix ms, 8 bytes big-endian
//	apikeys     mesh key(32)              → keyRow as JSON
//	audit       mesh number(8 big-endian) → one entry as JSON
//	ready       "ready"                   → when /health/ready last wrote
const (
	bucketStatements = "statements"
	bucketEnrols     = "enrols"
	bucketSessions   = "sessions"
	bucketSeen       = "seen"
	bucketKeys       = "apikeys"
	bucketAudit      = "audit"
	bucketReady      = "ready"

	meshIDSize = 32
)

var buckets = []string{bucketStatements, bucketEnrols, bucketSessions, bucketSeen, bucketKeys, bucketAudit, bucketReady, bucketGrants, blobs.Bucket}

func numberKey(id protocol.MeshID, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(id), n)
}

func memberKey(id protocol.MeshID, key crypto.PublicKey) []byte {
	return append([]byte(id), key[:]...)
}

// putStatements writes the statements to the log, the first as number first.
func putStatements(tx *store.Tx, id protocol.MeshID, first uint64, sts []*protocol.Statement) error {
	for i, st := range sts {
		if err := tx.Put(bucketStatements, numberKey(id, first+uint64(i)), st.Raw()); err != nil {
			return err
		}
	}
	return nil
}

// putEnrol keeps how somebody came, and as how manieth.
func putEnrol(tx *store.Tx, id protocol.MeshID, key crypto.PublicKey, arrived uint64, invite, enrol *protocol.Statement) error {
	v := binary.BigEndian.AppendUint64(nil, arrived)
	v = binary.BigEndian.AppendUint32(v, uint32(len(invite.Raw())))
	v = append(append(v, invite.Raw()...), enrol.Raw()...)
	return tx.Put(bucketEnrols, memberKey(id, key), v)
}

func putSeen(tx *store.Tx, id protocol.MeshID, key crypto.PublicKey, at int64) error {
	return tx.Put(bucketSeen, memberKey(id, key), binary.BigEndian.AppendUint64(nil, uint64(at)))
}

// loadMeshes reads all meshes. What is on disk was checked before it was written: a statement that does not parse any more
// means a damaged file, and the broker does not start on it.
func (s *Server) loadMeshes() error {
	return s.db.View(func(tx *store.Tx) error {
		logs := make(map[protocol.MeshID][]*protocol.Statement)
		for k, v := range tx.Scan(bucketStatements, nil, nil) {
			id := protocol.MeshID(k[:meshIDSize])
			st, err := protocol.ParseIn(id, v)
			if err != nil {
				return fmt.Errorf("read statement %x of mesh %s: %w", k[meshIDSize:], id, err)
			}
			for n := binary.BigEndian.Uint64(k[meshIDSize:]); uint64(len(logs[id])) < n-1; {
				logs[id] = append(logs[id], nil)
			}
			logs[id] = append(logs[id], st)
		}
		for id, log := range logs {
			m, err := newMesh(s, log)
			if err != nil {
				return fmt.Errorf("read mesh %s: %w", id, err)
			}
			if err := m.loadPeople(tx); err != nil {
				return fmt.Errorf("read the members of mesh %s: %w", id, err)
			}
			s.meshes[id] = m
		}
		return nil
	})
}

func (m *mesh) loadPeople(tx *store.Tx) error {
	for k, v := range tx.Scan(bucketEnrols, []byte(m.id), nil) {
		arrived, v := binary.BigEndian.Uint64(v), v[8:]
		n := binary.BigEndian.Uint32(v)
		invite, err := protocol.ParseIn(m.id, v[4:4+n])
		if err != nil {
			return err
		}
		enrol, err := protocol.ParseIn(m.id, v[4+n:])
		if err != nil {
			return err
		}
		p := m.memberLocked(crypto.PublicKey(k[meshIDSize:]))
		p.invite, p.enrol, p.arrived = invite, enrol, arrived
		m.arrivals = max(m.arrivals, arrived)
	}
	for _, v := range tx.Scan(bucketSessions, []byte(m.id), nil) {
		st, err := protocol.ParseIn(m.id, v)
		if err != nil {
			return err
		}
		m.noteSessionLocked(st)
	}
	for k, v := range tx.Scan(bucketSeen, []byte(m.id), nil) {
		m.memberLocked(crypto.PublicKey(k[meshIDSize:])).lastSeen = int64(binary.BigEndian.Uint64(v))
	}
	if err := m.loadGrants(tx); err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	if err := m.loadKeys(tx); err != nil {
		return fmt.Errorf("read API keys: %w", err)
	}
	return m.loadAudit(tx)
}
