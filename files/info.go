package files

import (
	"encoding/hex"

	"github.com/claudemesh/claudemesh/protocol"
)

// Info is what people and programs see of a file.
func Info(name string, size int64, sha256 [32]byte) protocol.FileInfo {
	return protocol.FileInfo{Name: SafeName(name), Size: size, SHA256: hex.EncodeToString(sha256[:])}
}

// Infos is Info of all files of a message.
func Infos(refs []protocol.FileRef) (all []protocol.FileInfo) {
	for _, r := range refs {
		all = append(all, Info(r.Name, r.Size, r.SHA256))
	}
	return all
}
