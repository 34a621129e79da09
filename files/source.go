package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/protocol"
)

// Source opens a file that is to be sent. Only regular files are: no link, which may lead elsewhere by the time it is read, no
// directory, device, pipe or socket. A file beyond the limit is refused before it is read.
func Source(path string) (*os.File, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, cannotRead(path, err)
	}
	if err := checkSource(path, before); err != nil {
		return nil, err
	}
	f, err := openSource(path)
	if err != nil {
		return nil, cannotRead(path, err)
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(before, now) {
		err = protocol.Refuse(protocol.CodeInvalid, "%s was replaced while it was opened", path)
	}
	if err == nil {
		err = checkSource(path, now)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkSource(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		target, err := filepath.EvalSymlinks(path)
		e := protocol.Refuse(protocol.CodeInvalid, "%s is a link, and links are not sent", path)
		if err == nil {
			e = e.WithHint("send the file itself: %s", target)
		}
		return e
	case mode.IsDir():
		return protocol.Refuse(protocol.CodeInvalid, "%s is a directory", path).WithHint("pack it first: tar czf - %s | claudemesh send … -", path)
	case !mode.IsRegular():
		return protocol.Refuse(protocol.CodeInvalid, "%s is no regular file", path)
	case info.Size() > protocol.MaxFileSize:
		return TooLarge()
	}
	return nil
}

func cannotRead(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return protocol.Refuse(protocol.CodeNotFound, "there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return protocol.Refuse(protocol.CodeForbidden, "the file %s cannot be read: permission denied", path)
	}
	return protocol.Refuse(protocol.CodeInvalid, "the file %s cannot be read: %v", path, err)
}
