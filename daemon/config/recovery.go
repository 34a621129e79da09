package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/claudemesh/claudemesh/protocol"
)

const recoveryText = `# The recovery seed of the claudemesh mesh %q.
# Whoever has it can take the mesh over. Copy it to a place that is offline, and remove this file.
mesh %s
seed %s
`

// SaveRecoverySeed writes the recovery seed of a mesh into a new file and returns its path. The file stays only until the seed was
// shown: it is for a seed that could not be.
func (h Home) SaveRecoverySeed(slug string, mesh protocol.MeshID, seed string) (string, error) {
	name := slug
	for n := 2; ; n++ {
		path := filepath.Join(h.dir, "recovery-"+name+".seed")
		err := CreateFile(path, fmt.Appendf(nil, recoveryText, slug, mesh, seed))
		if !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		name = fmt.Sprintf("%s-%d", slug, n)
	}
}

// RecoverySeeds are the files of seeds that were not shown.
func (h Home) RecoverySeeds() ([]string, error) {
	return filepath.Glob(filepath.Join(h.dir, "recovery-*.seed"))
}
