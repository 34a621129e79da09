package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func ownerKeyVerb() *verb {
	return &verb{
		name: "owner-key", usage: "the key that owns a mesh: keep it elsewhere, protect it, replace it",
		subs: []*verb{
			{name: "export", usage: "copy the owner key into a file", args: "<file>", min: 1, max: 1,
				flags: []urfave.Flag{
					&urfave.BoolFlag{Name: "protect", Usage: "keep the copy under a passphrase"},
					&urfave.BoolFlag{Name: "move", Usage: "take the key off this machine"},
					passphraseFlag("of the owner key"), meshFlag(), jsonFlag(),
				},
				examples: []string{"claudemesh mesh owner-key export /media/usb/acme.key --move"}, run: runOwnerExport},
			{name: "import", usage: "bring an owner key to this machine", args: "<file>", min: 1, max: 1,
				flags:    []urfave.Flag{protectFlag(), passphraseFlag("of the owner key"), jsonFlag()},
				about:    "A key under a passphrase stays under it. An open one gets a passphrase with --protect or --passphrase-file, and where an owner\nkey of the mesh has one here already.",
				examples: []string{"claudemesh mesh owner-key import /media/usb/acme.key"}, run: runOwnerImport},
			{name: "protect", usage: "keep the owner key on this machine under a passphrase",
				flags: []urfave.Flag{passphraseFlag("of the owner key"), meshFlag(), jsonFlag()}, examples: []string{"claudemesh mesh owner-key protect"}, run: runOwnerProtect},
			replaceVerb(), recoverVerb(),
		},
	}
}

func protectFlag() urfave.Flag {
	return &urfave.BoolFlag{Name: "protect", Usage: "keep the key under a passphrase"}
}

// exported is what the verbs that move an owner key print under --json. The key is never in it.
type exported struct {
	OK     bool            `json:"ok"`
	MeshID protocol.MeshID `json:"mesh_id"`
	Owner  string          `json:"owner_pubkey"`
	File   string          `json:"file"`
}

// localOwnerKey finds the owner key of the mesh that is named, or of the only one.
func (c *call) localOwnerKey(ctx context.Context) (protocol.MeshInfo, *config.OwnerKey, error) {
	cl, err := c.daemon(ctx)
	if err != nil {
		return protocol.MeshInfo{}, nil, err
	}
	m, err := pickMesh(ctx, cl, c.str("mesh"))
	if err != nil {
		return m, nil, err
	}
	k, err := findOwnerKey(m)
	return m, k, err
}

func runOwnerExport(ctx context.Context, c *call) error {
	m, k, err := c.localOwnerKey(ctx)
	if err != nil {
		return err
	}
	key, _, err := c.unlock(k)
	if err != nil {
		return err
	}
	var sealing *config.Sealing
	if c.yes("protect") {
		pass, err := c.passphrase("of the owner key", true)
		if err != nil {
			return err
		}
		sealing = config.NewSealing(pass)
	}
	if err := config.ExportOwnerKey(c.arg(0), m.Mesh, k.MeshID, key, sealing); err != nil {
		return err
	}
	if c.yes("move") {
		if err := os.Remove(k.Path); err != nil {
			return fmt.Errorf("take the owner key off this machine: %w", err)
		}
	}
	return c.ownerKeyDone(k, c.arg(0), "the owner key of %s is in %s", m.Mesh, c.arg(0))
}

func (c *call) ownerKeyDone(k *config.OwnerKey, file, format string, args ...any) error {
	if c.json {
		c.printJSON(exported{OK: true, MeshID: k.MeshID, Owner: k.Public.String(), File: file})
		return nil
	}
	c.say(format, args...)
	return nil
}

func runOwnerImport(ctx context.Context, c *call) error {
	k, err := config.ReadOwnerKey(c.arg(0))
	if err != nil {
		return err
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	cfg, err := home.Load()
	if err != nil {
		return err
	}
	m := cfg.ByID(k.MeshID)
	if m == nil {
		return protocol.Refuse(protocol.CodeNotFound, "%s is the key of a mesh that is not joined here", c.arg(0)).WithHint("claudemesh join first")
	}
	have, err := home.OwnerKeys(k.MeshID)
	if err != nil {
		return err
	}
	for _, old := range have {
		if old.Public == k.Public {
			return protocol.Refuse(protocol.CodeExists, "the key is here already: %s", old.Path)
		}
	}
	sealing, err := c.sealLike(k, have)
	if err != nil {
		return err
	}
	path, err := home.SaveOwnerKey(m.Slug, k.MeshID, k.Key, sealing)
	if err != nil {
		return err
	}
	return c.ownerKeyDone(k, path, "the owner key of %s is in %s", m.Slug, path)
}

// sealLike returns the sealing for a key that is read from k: its own passphrase if it has one.
func (c *call) sealLike(k *config.OwnerKey, have []*config.OwnerKey) (*config.Sealing, error) {
	if !k.Protected() {
		return c.freshSealing(have)
	}
	_, pass, err := c.unlock(k)
	if err != nil {
		return nil, err
	}
	return config.NewSealing(pass), nil
}

// freshSealing returns the sealing for a key that is new in this home: with a passphrase where that was asked for, or where an
// owner key of the mesh is here under one; nil: it lies open.
func (c *call) freshSealing(have []*config.OwnerKey) (*config.Sealing, error) {
	if !c.yes("protect") && c.str("passphrase-file") == "" && !slices.ContainsFunc(have, (*config.OwnerKey).Protected) {
		return nil, nil
	}
	pass, err := c.passphrase("for the owner key", true)
	if err != nil {
		return nil, err
	}
	return config.NewSealing(pass), nil
}

func runOwnerProtect(ctx context.Context, c *call) error {
	m, k, err := c.localOwnerKey(ctx)
	if err != nil {
		return err
	}
	if k.Key == nil {
		return protocol.Refuse(protocol.CodeExists, "%s is under a passphrase already", k.Path)
	}
	pass, err := c.passphrase("of the owner key", true)
	if err != nil {
		return err
	}
	if err := config.ProtectOwnerKey(k, m.Mesh, config.NewSealing(pass)); err != nil {
		return err
	}
	return c.ownerKeyDone(k, k.Path, "the owner key of %s opens with the passphrase only", m.Mesh)
}

// readSeed reads a recovery seed: typed without being shown, or from stdin. It never stands on a command line.
func (c *call) readSeed() (*crypto.PrivateKey, error) {
	var text []byte
	var err error
	if isTerminal(c.stdin) {
		text, err = c.askSecret("recovery seed: ")
	} else {
		text, err = firstLine(c.stdin, "the recovery seed")
	}
	if err != nil {
		return nil, err
	}
	seed, err := hex.DecodeString(strings.ToLower(strings.Join(strings.Fields(string(text)), "")))
	if err != nil || len(seed) != crypto.SeedSize {
		return nil, protocol.Refuse(protocol.CodeInvalid, "a recovery seed is 64 hex digits")
	}
	return crypto.KeyFromSeed([crypto.SeedSize]byte(seed)), nil
}
