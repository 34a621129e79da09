package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func replaceVerb() *verb {
	return &verb{
		name: "replace", usage: "hand the mesh over from the present owner key to a new one",
		flags: []urfave.Flag{dropFlag(), yesFlag(), protectFlag(), passphraseFlag("of the owner key"), meshFlag(), jsonFlag()},
		about: `What the present key signed is listed, and stays in force as far as you keep it. The recovery key stays as it is, and can
undo this. The new key has the passphrase of the present one; if that has none, --protect asks for one.`,
		examples: []string{"claudemesh mesh owner-key replace"}, run: runReplace,
	}
}

func recoverVerb() *verb {
	return &verb{
		name: "recover", usage: "take the mesh back with the recovery seed, whoever has the owner key now",
		flags: []urfave.Flag{
			&urfave.IntFlag{Name: "from", Usage: "undo hand-over `N` and all behind it"},
			dropFlag(), yesFlag(), protectFlag(), passphraseFlag("for the new owner key"), meshFlag(), jsonFlag(),
		},
		about: `The seed is read from the terminal or from stdin. A new owner key and a new recovery seed are made, which is printed once. What
the replaced owner key signed is listed: leave out with --drop what a thief signed with it. What owners after it signed is void.
The new key gets a passphrase with --protect or --passphrase-file, and where an owner key of the mesh has one on this machine.`,
		examples: []string{"claudemesh mesh owner-key recover", "claudemesh mesh owner-key recover --from 1 --drop 3fa94c21"}, run: runRecover,
	}
}

// handover is a change of owner that is about to be signed.
type handover struct {
	book     *book
	view     *protocol.View // before it
	by       *crypto.PrivateKey
	n        uint64
	recovery *crypto.PrivateKey // new; nil: stays
	sealing  *config.Sealing    // of the new owner key; nil: it lies open
}

// handedOver is what a change of owner prints under --json. The recovery seed is never in it.
type handedOver struct {
	OK           bool   `json:"ok"`
	Mesh         string `json:"mesh"`
	N            uint64 `json:"n"`
	Owner        string `json:"owner_pubkey"`
	OwnerKeyFile string `json:"owner_key_file"`
	Protected    bool   `json:"protected"`
	Kept         int    `json:"kept"`
}

func (c *call) theBook(ctx context.Context) (*client.Client, *book, error) {
	cl, m, err := c.settledMesh(ctx, c.str("mesh"))
	if err != nil {
		return nil, nil, err
	}
	b, err := openBook(ctx, cl, m)
	return cl, b, err
}

func runReplace(ctx context.Context, c *call) error {
	cl, b, err := c.theBook(ctx)
	if err != nil {
		return err
	}
	k, err := findOwnerKey(b.info)
	if err != nil {
		return err
	}
	sealing, err := c.sealLike(k, nil)
	if err != nil {
		return err
	}
	return c.handOver(ctx, cl, handover{book: b, view: b.view, by: k.Key, n: b.view.N() + 1, sealing: sealing})
}

func runRecover(ctx context.Context, c *call) error {
	cl, b, err := c.theBook(ctx)
	if err != nil {
		return err
	}
	if c.str("passphrase-file") == "-" && !isTerminal(c.stdin) {
		return protocol.Refuse(protocol.CodeInvalid, "seed and passphrase cannot both come from stdin").WithHint("--passphrase-file FILE")
	}
	seed, err := c.readSeed()
	if err != nil {
		return err
	}
	n, err := c.recoverFrom(b, seed.Public())
	if err != nil {
		return err
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	have, err := home.OwnerKeys(b.mesh)
	if err != nil {
		return err
	}
	sealing, err := c.freshSealing(have)
	if err != nil {
		return err
	}
	return c.handOver(ctx, cl, handover{book: b, view: b.before(n), by: seed, n: n, recovery: crypto.GenerateKey(), sealing: sealing})
}

// recoverFrom finds the number of the hand-over that the recovery key signs. Hand-overs of the owner since the recovery key is
// in power may be a thief's: then the user must say from which on they are void.
func (c *call) recoverFrom(b *book, recovery crypto.PublicKey) (uint64, error) {
	first := uint64(0)
	for n := uint64(1); n <= b.view.N()+1; n++ {
		if b.before(n).Recovery() == recovery {
			first = n
			break
		}
	}
	last := b.view.N() + 1
	asked := c.flags.Int("from")
	switch {
	case first == 0 || b.view.Recovery() != recovery:
		return 0, protocol.Refuse(protocol.CodeUnauthorized, "this is not the recovery seed of %s", b.info.Mesh)
	case asked == 0 && first == last:
		return last, nil
	case asked == 0:
		for n := first; n < last; n++ {
			c.note("    hand-over %d: to %s", n, b.before(n+1).Owner())
		}
		return 0, protocol.Refuse(protocol.CodeInvalid, "the owner key was replaced since: say from which hand-over on it was not you").
			WithHint("--from %d undoes all of them, --from %d none", first, last)
	case asked < int(first) || asked > int(last):
		return 0, protocol.Refuse(protocol.CodeInvalid, "--from takes %d to %d", first, last)
	}
	return uint64(asked), nil
}

// handOver makes a new owner key, keeps it, and publishes the hand-over.
func (c *call) handOver(ctx context.Context, cl *client.Client, h handover) error {
	b, m := h.book, h.book.info
	keep, err := c.keepList(b, h.view, h.view.Owner(), fmt.Sprintf("hand %s over to a new owner key?", m.Mesh))
	if err != nil {
		return err
	}
	owner := crypto.GenerateKey()
	change := &protocol.OwnerChange{Mesh: b.mesh, By: h.by.Public(), N: h.n, New: owner.Public(), Recovery: h.view.Recovery(), Keep: keep}
	if h.recovery != nil {
		change.Recovery = h.recovery.Public()
	}
	signed, err := protocol.Sign(change, h.by)
	if err != nil {
		return fmt.Errorf("sign the hand-over: %w", err)
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	path, err := home.SaveOwnerKey(m.Mesh, b.mesh, owner, h.sealing) // first: a published key that is lost would lose the mesh
	if err != nil {
		return err
	}
	if h.recovery != nil {
		if err := c.showNewRecovery(h.recovery); err != nil {
			return errors.Join(err, os.Remove(path))
		}
	}
	if err := cl.Publish(ctx, m.Mesh, signed.Text()); err != nil {
		return fmt.Errorf("%w (the new key is in %s and not in force)", err, path)
	}
	if c.json {
		c.printJSON(handedOver{OK: true, Mesh: m.Mesh, N: h.n, Owner: owner.Public().String(), OwnerKeyFile: path, Protected: h.sealing != nil, Kept: len(keep)})
		return nil
	}
	c.say("%s has a new owner key", m.Mesh)
	c.say("    owner key  %s", path)
	if h.sealing == nil {
		c.note("hint: claudemesh mesh owner-key protect")
	}
	c.note("hint: make admins anew whom you did not keep: claudemesh mesh promote")
	return nil
}

// showNewRecovery prints the seed before its hand-over is published: one that nobody saw would end the recovery of the mesh.
func (c *call) showNewRecovery(key *crypto.PrivateKey) error {
	seed := key.Seed()
	c.note("recovery seed, shown only now: %s", hex.EncodeToString(seed[:]))
	c.note("whoever has it can take the mesh over; keep it offline. The old one is worth nothing once this is published")
	if err := c.stderr.failed(); err != nil {
		return protocol.Refuse(protocol.CodeStoreFailed, "the new recovery seed could not be shown, nothing was changed: %v", err)
	}
	return nil
}
