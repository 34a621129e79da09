package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// Pending is a member key on its way into a mesh. It is on disk before anybody hears of the key, so a crash between
// the broker's yes and config.json cannot lose a key that was admitted: the next join with the same link takes it up.
type Pending struct {
	Key   *crypto.PrivateKey
	Name  string
	Enrol string // statement text
}

type pendingFile struct {
	SecretKey string `json:"secretKey"`
	Name      string `json:"name"`
	Enrol     string `json:"enrol"`
}

func (h Home) pendingPath(link crypto.PublicKey) string {
	return filepath.Join(h.dir, "join-"+link.String()[:16]+".pending")
}

// SavePending keeps the key that is to join by the link of that public key.
func (h Home) SavePending(link crypto.PublicKey, p *Pending) error {
	b, err := json.Marshal(pendingFile{SecretKey: p.Key.Hex(), Name: p.Name, Enrol: p.Enrol})
	if err != nil {
		return fmt.Errorf("keep the new key: %w", err)
	}
	return WriteFile(h.pendingPath(link), append(b, '\n'))
}

// LoadPending returns the key that an earlier join by this link kept, nil when there is none.
func (h Home) LoadPending(link crypto.PublicKey) (*Pending, error) {
	path := h.pendingPath(link)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a join under way: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return nil, err
	}
	var p pendingFile
	if err := json.NewDecoder(f).Decode(&p); err != nil {
		return nil, fmt.Errorf("read a join under way: %s is broken", path)
	}
	key, err := crypto.ParsePrivateKey(p.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("read a join under way: %s: %w", path, err)
	}
	return &Pending{Key: key, Name: p.Name, Enrol: p.Enrol}, nil
}

// DropPending forgets the key.
func (h Home) DropPending(link crypto.PublicKey) error {
	if err := os.Remove(h.pendingPath(link)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end a join under way: %w", err)
	}
	return nil
}

// SweepPending forgets keys of joins that nobody took up since before: their links have expired.
func (h Home) SweepPending(before time.Time) error {
	paths, err := filepath.Glob(filepath.Join(h.dir, "join-*.pending"))
	if err != nil {
		return fmt.Errorf("sweep joins under way: %w", err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.ModTime().Before(before) {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep joins under way: %w", err)
		}
	}
	return nil
}
