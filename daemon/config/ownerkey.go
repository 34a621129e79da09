package config

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// OwnerKey is an owner key file. One that is kept under a passphrase has no Key until Unlock.
type OwnerKey struct {
	Path   string
	MeshID protocol.MeshID
	Public crypto.PublicKey
	Key    *crypto.PrivateKey // nil: sealed
	sealed []byte
}

const ownerKeyText = `# An owner key of the claudemesh mesh %q.
# Whoever has this key owns the mesh. Everyday work does not need it: keep a copy elsewhere, or move it there.
mesh %s
owner %s
%s %s
`

// ownerKeyFile encodes an owner key, under a passphrase if there is a sealing.
func ownerKeyFile(slug string, mesh protocol.MeshID, key *crypto.PrivateKey, sealing *Sealing) []byte {
	word, secret := "key", key.Hex()
	if sealing != nil {
		seed := key.Seed()
		word, secret = "sealed", base64.RawURLEncoding.EncodeToString(sealing.Seal(seed[:]))
	}
	return fmt.Appendf(nil, ownerKeyText, slug, mesh, key.Public(), word, secret)
}

// OwnerKeyFile is the path of the owner key of the mesh with that slug.
func (h Home) OwnerKeyFile(slug string) string {
	return filepath.Join(h.dir, "owner-"+slug+".key")
}

// SaveOwnerKey writes a new owner key file, named after the slug, and returns its path. It never overwrites one: where the
// name is taken by another key, the file gets a -2. With a sealing the key is kept under its passphrase.
func (h Home) SaveOwnerKey(slug string, mesh protocol.MeshID, key *crypto.PrivateKey, sealing *Sealing) (string, error) {
	text := ownerKeyFile(slug, mesh, key, sealing)
	name := slug
	for n := 2; ; n++ {
		path := h.OwnerKeyFile(name)
		err := CreateFile(path, text)
		if !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		name = fmt.Sprintf("%s-%d", slug, n)
	}
}

// ExportOwnerKey writes an owner key file anywhere; it never overwrites one.
func ExportOwnerKey(path, slug string, mesh protocol.MeshID, key *crypto.PrivateKey, sealing *Sealing) error {
	return CreateFile(path, ownerKeyFile(slug, mesh, key, sealing))
}

// ProtectOwnerKey writes an owner key file anew: under the passphrase of sealing, or, with none, open.
func ProtectOwnerKey(k *OwnerKey, slug string, sealing *Sealing) error {
	return WriteFile(k.Path, ownerKeyFile(slug, k.MeshID, k.Key, sealing))
}

// OwnerKeys lists the owner keys of a mesh that are in the home: a hand-over leaves the old one. The error names files that
// could not be read, beside what could.
func (h Home) OwnerKeys(mesh protocol.MeshID) (keys []*OwnerKey, err error) {
	paths, err := filepath.Glob(filepath.Join(h.dir, "owner-*.key"))
	if err != nil {
		return nil, fmt.Errorf("look for owner keys: %w", err)
	}
	for _, path := range paths {
		k, broken := ReadOwnerKey(path)
		if broken == nil && k.MeshID == mesh {
			keys = append(keys, k)
		}
		err = errors.Join(err, broken)
	}
	return keys, err
}

// OwnerKey finds an owner key of a mesh among the files of the home; the error wraps fs.ErrNotExist when none is here, and
// not where a file that may be one cannot be read.
func (h Home) OwnerKey(mesh protocol.MeshID) (*OwnerKey, error) {
	keys, err := h.OwnerKeys(mesh)
	if len(keys) > 0 {
		return keys[0], nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the owner key: %w", err)
	}
	return nil, fmt.Errorf("owner key of this mesh: %w", fs.ErrNotExist)
}

// Protected reports whether the file is kept under a passphrase, unlocked or not.
func (k *OwnerKey) Protected() bool { return k.sealed != nil }

// Unlock opens a key that is kept under a passphrase. Others are open already.
func (k *OwnerKey) Unlock(passphrase []byte) error {
	if k.Key != nil {
		return nil
	}
	seed, err := OpenSealed(k.sealed, passphrase)
	if err != nil {
		return fmt.Errorf("open owner key %s: %w", k.Path, err)
	}
	if len(seed) != crypto.SeedSize {
		return errNoOwnerKey(k.Path)
	}
	key := crypto.KeyFromSeed([crypto.SeedSize]byte(seed))
	if key.Public() != k.Public {
		return protocol.Refuse(protocol.CodeInvalid, "%s says that it holds another key than it does", k.Path)
	}
	k.Key = key
	return nil
}

func errNoOwnerKey(path string) *protocol.Error {
	return protocol.Refuse(protocol.CodeInvalid, "%s is not an owner key file", path)
}

// ReadOwnerKey reads an owner key file wherever it is kept. Errors never repeat its content.
func ReadOwnerKey(path string) (*OwnerKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read owner key: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return nil, err
	}
	k := &OwnerKey{Path: path}
	lines := bufio.NewScanner(io.LimitReader(f, 4096))
	for lines.Scan() {
		word, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if err := k.take(word, rest); err != nil {
			return nil, fmt.Errorf("read owner key %s: %w", path, err)
		}
	}
	if err := lines.Err(); err != nil || k.Key == nil && k.sealed == nil || !k.MeshID.Valid() {
		return nil, errors.Join(errNoOwnerKey(path), err)
	}
	if k.Key != nil {
		k.Public = k.Key.Public()
	}
	return k, nil
}

func (k *OwnerKey) take(word, rest string) (err error) {
	switch word {
	case "mesh":
		k.MeshID = protocol.MeshID(rest)
	case "owner":
		k.Public, err = crypto.ParsePublicKey(rest)
	case "key":
		k.Key, err = crypto.ParsePrivateKey(rest)
	case "sealed":
		if k.sealed, err = base64.RawURLEncoding.Strict().DecodeString(rest); err != nil {
			err = protocol.Refuse(protocol.CodeInvalid, "its sealed key is damaged") // the cause would repeat it
		}
	}
	return err
}
