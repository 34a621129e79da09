package blobs

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Sweep removes what is over: blobs past their life, uploads that did not go on, and blobs whose uploader, or whose last reader,
// is no member any more. now is by what time is over. It returns how many went.
func (s *Store) Sweep(now time.Time, member func(mesh protocol.MeshID, key crypto.PublicKey) bool) (int, error) {
	gone := s.names(func(_ Name, b *blob) bool { return s.reply(b).Expires <= now.UnixMilli() })
	for _, name := range s.names(func(Name, *blob) bool { return true }) {
		readers := s.readers(name)
		reads := func(key crypto.PublicKey) bool { return member(name.Mesh, key) }
		if !member(name.Mesh, name.Uploader) || !slices.ContainsFunc(readers, reads) {
			gone = append(gone, name)
		}
	}
	return s.deleteAll(gone)
}

// DropMesh removes all blobs of a mesh that was deleted.
func (s *Store) DropMesh(mesh protocol.MeshID) error {
	_, err := s.deleteAll(s.names(func(name Name, _ *blob) bool { return name.Mesh == mesh }))
	return err
}

func (s *Store) deleteAll(gone []Name) (n int, err error) {
	slices.SortFunc(gone, func(a, b Name) int { return bytes.Compare(a.key(), b.key()) })
	for _, name := range slices.Compact(gone) {
		if e := s.Delete(name); e != nil {
			err = errors.Join(err, e)
			continue
		}
		n++
	}
	return n, err
}

// names lists the blobs of which want, called under mu, says so, but for those that are worked on.
func (s *Store) names(want func(Name, *blob) bool) (all []Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, b := range s.blobs {
		if !b.busy && want(name, b) {
			all = append(all, name)
		}
	}
	return all
}

func (s *Store) readers(name Name) []crypto.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.blobs[name]; b != nil {
		return b.Readers
	}
	return nil
}

// Stats are what is kept of all meshes.
func (s *Store) Stats() (count int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.meshes {
		bytes += n
	}
	return len(s.blobs), bytes
}
