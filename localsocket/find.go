package localsocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Find returns where the socket is that belongs at path. The error wraps fs.ErrNotExist where nobody can listen.
func Find(path string) (string, error) {
	if len(path) <= MaxPath && exists(path) {
		return path, nil
	}
	at, err := readRecord(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(path) <= MaxPath:
		return path, nil
	case err != nil:
		return "", err
	case !private(filepath.Dir(at), filepath.Dir(path)):
		return "", fmt.Errorf("find the socket of %s: %w", path, fs.ErrNotExist)
	}
	return at, nil
}

// Dial connects to whoever listens on the socket that belongs at path.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	at, err := Find(path)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "unix", at)
}

// Answers reports whether somebody listens on the socket that belongs at path.
func Answers(path string) bool {
	conn, err := Dial(context.Background(), path)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// recordFile is where it is written down where a socket is that cannot be at path.
func recordFile(path string) string { return path + ".path" }

func readRecord(path string) (string, error) {
	b, err := os.ReadFile(recordFile(path))
	return strings.TrimSpace(string(b)), err
}

func writeRecord(path, at string) error {
	temp := recordFile(path) + ".tmp"
	err := os.WriteFile(temp, []byte(at+"\n"), 0o600)
	if err == nil {
		err = os.Rename(temp, recordFile(path))
	}
	if err != nil {
		return errors.Join(err, removeFile(temp))
	}
	return nil
}
