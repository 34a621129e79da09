package protocol

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/crypto"
)

// Everything that we put into a box starts with a zero byte and a label, so that no box can be shown as another.
const (
	labelEnvelope = "\x00cm2" // ‖ sig(64) ‖ u32be len(H) ‖ H ‖ body
	labelWrap     = "\x00cmk" // ‖ K(32) ‖ BLAKE2b-256(nonce ‖ ciphertext) ‖ u64be seq
)

const (
	plainFixed = len(labelEnvelope) + crypto.SignatureSize + 4
	wrapPlain  = len(labelWrap) + crypto.KeySize + 32 + 8
	wrapSize   = crypto.NonceSize + crypto.Overhead + wrapPlain // 116
)

// SealDirect seals a message of from to the key in h.To. shared is the key of the boxes between the two
// (crypto.PrivateKey.Shared). The body is UTF-8 of at most MaxBody bytes.
// Errors are *Error: CodeInvalid, or CodePayloadTooLarge for the sizes.
func SealDirect(h *Header, body []byte, from *crypto.PrivateKey, shared *crypto.Key) (nonce, ciphertext []byte, err error) {
	if _, ok := h.Target(); !ok {
		return nil, nil, Refuse(CodeInvalid, "seal to %s: not a key", h.To)
	}
	plain, err := signEnvelope(h, body, from)
	if err != nil {
		return nil, nil, err
	}
	n := crypto.NewNonce()
	return n[:], crypto.Seal(nil, plain, &n, shared), nil
}

// GroupSeal is one message sealed once for many. Each recipient gets the same nonce and ciphertext and a wrap of his own.
type GroupSeal struct {
	Nonce      []byte // 24 bytes
	Ciphertext []byte

	key  *crypto.Key
	hash [32]byte // of nonce ‖ ciphertext: a secretbox opens under more than one key, this binds it to ours
}

// SealGroup seals a message of from to many. Errors are those of SealDirect.
func SealGroup(h *Header, body []byte, from *crypto.PrivateKey) (*GroupSeal, error) {
	if _, ok := h.Target(); ok {
		return nil, Refuse(CodeInvalid, "seal to a group: %s is one key", h.To)
	}
	plain, err := signEnvelope(h, body, from)
	if err != nil {
		return nil, err
	}
	k, n := crypto.NewKey(), crypto.NewNonce()
	return newGroupSeal(plain, &k, &n), nil
}

func newGroupSeal(plain []byte, k *crypto.Key, n *crypto.Nonce) *GroupSeal {
	c := crypto.Seal(nil, plain, n, k)
	return &GroupSeal{Nonce: n[:], Ciphertext: c, key: k, hash: crypto.Hash(n[:], c)}
}

// Wrap returns the 116 bytes by which one member opens the message: nonce ‖ box of the key. shared is the key of the
// boxes between the sealing key and that member's. seq is the message's number for this member, and zero for a card.
func (g *GroupSeal) Wrap(seq uint64, shared *crypto.Key) []byte {
	n := crypto.NewNonce()
	return g.wrap(seq, shared, &n)
}

func (g *GroupSeal) wrap(seq uint64, shared *crypto.Key, n *crypto.Nonce) []byte {
	plain := make([]byte, 0, wrapPlain)
	plain = append(plain, labelWrap...)
	plain = append(plain, g.key[:]...)
	plain = append(plain, g.hash[:]...)
	plain = binary.BigEndian.AppendUint64(plain, seq)
	defer clear(plain)
	return crypto.Seal(append(make([]byte, 0, wrapSize), n[:]...), plain, n, shared)
}

// signEnvelope returns the plaintext of an envelope.
func signEnvelope(h *Header, body []byte, from *crypto.PrivateKey) ([]byte, error) {
	if h.From != from.Public() {
		return nil, Refuse(CodeInvalid, "seal a message: from is not the sealing key")
	}
	if len(body) > MaxBody {
		return nil, TextTooLarge(int64(len(body)))
	}
	if !utf8.Valid(body) {
		return nil, Refuse(CodeInvalid, "message is not UTF-8")
	}
	hdr, err := EncodeHeader(h)
	if err != nil {
		return nil, err
	}
	sig := from.Sign(EncodeBlock("msg", hdr, body))
	plain := make([]byte, 0, plainFixed+len(hdr)+len(body))
	plain = append(plain, labelEnvelope...)
	plain = append(plain, sig[:]...)
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(hdr)))
	plain = append(plain, hdr...)
	return append(plain, body...), nil
}

// splitEnvelope takes a plaintext apart without believing any of it.
func splitEnvelope(plain []byte) (sig crypto.Signature, hdr, body []byte, err error) {
	if len(plain) < plainFixed || string(plain[:len(labelEnvelope)]) != labelEnvelope {
		return sig, nil, nil, errors.New("the box holds no envelope")
	}
	rest := plain[len(labelEnvelope):]
	copy(sig[:], rest)
	rest = rest[len(sig):]
	n := binary.BigEndian.Uint32(rest)
	rest = rest[4:]
	if n > MaxHeader || int(n) > len(rest) || len(rest)-int(n) > MaxBody {
		return sig, nil, nil, errors.New("the lengths in the envelope are wrong")
	}
	return sig, rest[:n:n], rest[n:], nil
}

// openWrap returns the key, the hash and the number in a wrap of wrapSize bytes.
func openWrap(wrap []byte, shared *crypto.Key) (k crypto.Key, hash [32]byte, seq uint64, err error) {
	n := crypto.Nonce(wrap[:crypto.NonceSize])
	plain, err := crypto.Open(make([]byte, 0, wrapPlain), wrap[crypto.NonceSize:], &n, shared)
	if err != nil {
		return k, hash, 0, errors.New("the wrap does not open")
	}
	defer clear(plain)
	if string(plain[:len(labelWrap)]) != labelWrap {
		return k, hash, 0, errors.New("the box is not a wrap")
	}
	rest := plain[len(labelWrap):]
	rest = rest[copy(k[:], rest):]
	rest = rest[copy(hash[:], rest):]
	if seq = binary.BigEndian.Uint64(rest); seq > maxInteger {
		return k, hash, 0, errors.New("the number in the wrap is too large")
	}
	return k, hash, seq, nil
}
