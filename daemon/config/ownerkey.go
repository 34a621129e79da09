package config

import (
	"bufio"
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

// OwnerKey is the content of an owner key file.
type OwnerKey struct {
	Path   string
	MeshID protocol.MeshID
	Key    *crypto.PrivateKey
}

const ownerKeyText = `# The owner key of the claudemesh mesh %q.
# Whoever has this file owns the mesh. Everyday work does not need it: keep a copy elsewhere, or move it there.
mesh %s
key %s
`

// OwnerKeyFile is the path of the owner key of the mesh with that slug.
func (h Home) OwnerKeyFile(slug string) string {
	return filepath.Join(h.dir, "owner-"+slug+".key")
}

// SaveOwnerKey writes a new owner key file, named after the slug, and returns its path. It never overwrites one: where the
// name is taken by another mesh's key, the file gets a -2.
func (h Home) SaveOwnerKey(slug string, mesh protocol.MeshID, key *crypto.PrivateKey) (string, error) {
	text := fmt.Appendf(nil, ownerKeyText, slug, mesh, key.Hex())
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

// OwnerKey finds the owner key of a mesh among the files of the home; the error wraps fs.ErrNotExist when it is not here.
func (h Home) OwnerKey(mesh protocol.MeshID) (*OwnerKey, error) {
	paths, err := filepath.Glob(filepath.Join(h.dir, "owner-*.key"))
	if err != nil {
		return nil, fmt.Errorf("look for owner keys: %w", err)
	}
	var broken error
	for _, path := range paths {
		k, err := ReadOwnerKey(path)
		if err == nil && k.MeshID == mesh {
			return k, nil
		}
		broken = errors.Join(broken, err)
	}
	return nil, errors.Join(fmt.Errorf("owner key of this mesh: %w", fs.ErrNotExist), broken)
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
		switch word {
		case "mesh":
			k.MeshID = protocol.MeshID(rest)
		case "key":
			if k.Key, err = crypto.ParsePrivateKey(rest); err != nil {
				return nil, fmt.Errorf("read owner key %s: %w", path, err)
			}
		}
	}
	if err := lines.Err(); err != nil || k.Key == nil || !k.MeshID.Valid() {
		return nil, errors.Join(protocol.Refuse(protocol.CodeInvalid, "%s is not an owner key file", path), err)
	}
	return k, nil
}
