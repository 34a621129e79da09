package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall/redact"
)

const (
	searchedForSecrets = 1 << 20 // bytes of a file's beginning
	savedMost          = 1 << 30 // bytes of all that sessions saved and nobody removed
)

// Stage hands a file of a session's project to the daemon. What looks like a secret is left to the user.
func (m meshOfMCP) Stage(ctx context.Context, project, path string) (string, error) {
	f, err := files.FromProject(ctx, project, path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, searchedForSecrets))
	if err != nil {
		return "", protocol.Refuse(protocol.CodeInvalid, "the file %s cannot be read: %v", path, err)
	}
	if bytes.IndexByte(head, 0) < 0 { // text, in whatever encoding: one foreign byte hides no secret
		if _, n := redact.New(nil).Text(strings.ToValidUTF8(string(head), " ")); n > 0 {
			return "", protocol.Refuse(protocol.CodeForbidden, "%s is not sent: it holds what looks like a secret", path).
				WithHint("your user may send it: claudemesh send NAME --file %s", path)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", protocol.Refuse(protocol.CodeInvalid, "the file %s cannot be read: %v", path, err)
	}
	staged, err := m.StageFile(ctx, filepath.Base(path), f)
	return staged.ID, err
}

// SaveFile saves a file of a message that a session may see into the one directory that sessions save to.
func (m meshOfMCP) SaveFile(ctx context.Context, session, id string, n int, info protocol.FileInfo) (string, error) {
	dir := filepath.Join(m.home.Dir(), "files", "saved")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", protocol.Refuse(protocol.CodeStoreFailed, "the directory %s cannot be made", dir)
	}
	if size := sizeOf(dir); size+info.Size > savedMost {
		return "", protocol.Refuse(protocol.CodeQuota, "%s holds %s of saved files, the most that sessions may keep", dir, sizeText(size)).
			WithHint("your user may remove what is not needed, or save it elsewhere: claudemesh inbox save %s", id)
	}
	content, err := m.File(ctx, session, id, n, info, nil)
	if err != nil {
		return "", err
	}
	defer content.Close()
	return files.Save(dir, info.Name, content)
}

func sizeOf(dir string) (sum int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}
