package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// DefaultRESTListen is where the daemon's REST interface is, when it is on and nothing else is said.
const DefaultRESTListen = "127.0.0.1:7902"

const restTokenSize = 32 // random bytes

// RESTTokenFile holds the token of the daemon's REST interface.
func (h Home) RESTTokenFile() string { return filepath.Join(h.dir, "rest-token") }

// RESTToken returns the token, made at the first call. Who may read the file may speak for this user on all his meshes.
func (h Home) RESTToken() (string, error) {
	f, err := os.Open(h.RESTTokenFile())
	if errors.Is(err, fs.ErrNotExist) {
		token := base64.RawURLEncoding.EncodeToString(crypto.RandomBytes(restTokenSize))
		if err := createPrivate(h.RESTTokenFile(), token+"\n"); !errors.Is(err, fs.ErrExist) {
			return token, err
		}
		f, err = os.Open(h.RESTTokenFile()) // somebody else made it meanwhile
	}
	if err != nil {
		return "", fmt.Errorf("read the REST token: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return "", fmt.Errorf("read the REST token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < restTokenSize {
		return "", protocol.Refuse(protocol.CodeInvalid, "the REST token in %s is too short: remove the file and a new one is made", h.RESTTokenFile())
	}
	return token, nil
}

// createPrivate makes a file that is whole, and this user's alone, from the moment that it is there.
func createPrivate(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".rest-token-") // 0600
	if err != nil {
		return fmt.Errorf("make the REST token: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make the REST token: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil {
		return fmt.Errorf("make the REST token: %w", err)
	}
	return nil
}

// CheckLoopback refuses a listen address that others can reach.
func CheckLoopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "%q is no address such as %s", listen, DefaultRESTListen)
	}
	if a, err := netip.ParseAddr(host); err != nil || !a.IsLoopback() {
		return protocol.Refuse(protocol.CodeForbidden, "the daemon's REST interface is for this machine only: 127.0.0.1 or [::1], not %s", host)
	}
	return nil
}
