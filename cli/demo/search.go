package demo

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// needle is something that must not be found.
type needle struct{ what, text string }

// haystack is something to search in.
type haystack struct{ where, data string }

func textNeedles(text string) []needle {
	return encodings(fmt.Sprintf("%q", text), []byte(text))
}

// encodings returns a secret as it could stand somewhere: raw, hex, and the three shapes that base64 gives it, which depend on
// what stands before it.
func encodings(what string, secret []byte) []needle {
	out := []needle{
		{what, string(secret)},
		{what + " in hex", hex.EncodeToString(secret)},
		{what + " in hex", strings.ToUpper(hex.EncodeToString(secret))},
	}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// Whole groups of three bytes, so that no neighbour changes a character.
			part := secret[min(shift, len(secret)):]
			part = part[:len(part)/3*3]
			out = append(out, needle{what + " in base64", enc.EncodeToString(part)})
		}
	}
	return out
}

// secrets returns the secret keys of both homes, and that of the link.
func (s *stage) secrets() (needles []needle, err error) {
	add := func(what string, k *crypto.PrivateKey) {
		seed := k.Seed()
		needles = append(needles, encodings(what, seed[:])...)
	}
	link, err := protocol.ParseLink(s.link)
	if err != nil {
		return nil, err
	}
	add("the link's secret", link.Key)
	for _, name := range []string{"alice", "bob"} {
		home, err := config.OpenHome(s.home(name))
		if err != nil {
			return nil, err
		}
		cfg, err := home.Load()
		if err != nil {
			return nil, err
		}
		if len(cfg.Meshes) != 1 {
			return nil, fmt.Errorf("%s has %d meshes, not one", name, len(cfg.Meshes))
		}
		add(name+"'s key", cfg.Meshes[0].Key)
		if name == "alice" {
			owner, err := home.OwnerKey(cfg.Meshes[0].MeshID)
			if err != nil {
				return nil, err
			}
			add("the owner's key", owner.Key)
		}
	}
	return needles, nil
}

// haystacks returns the broker's files, everything that the tap recorded, and all logs.
func (s *stage) haystacks() (all []haystack, err error) {
	for _, text := range s.tap.texts() {
		all = append(all, haystack{"the broker's wire", text})
	}
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		inBroker := strings.HasPrefix(path, s.brokerDir()+string(filepath.Separator))
		if !inBroker && !strings.Contains(d.Name(), ".log") {
			return nil
		}
		b, err := os.ReadFile(path)
		all = append(all, haystack{strings.TrimPrefix(path, s.dir+string(filepath.Separator)), string(b)})
		return err
	})
	return all, err
}
