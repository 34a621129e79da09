package protocol

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
)

// Fingerprint returns what two people compare to know that they mean the same key in the same mesh: six groups of five
// digits, each of five bytes of BLAKE2b-256(block("fp", mesh, key)). It holds about 100 bits.
func Fingerprint(mesh MeshID, key crypto.PublicKey) string {
	h := crypto.Hash(EncodeBlock("fp", []byte(mesh), key[:]))
	var groups [6]string
	for i := range groups {
		var n uint64
		for _, b := range h[5*i : 5*i+5] {
			n = n<<8 | uint64(b)
		}
		groups[i] = fmt.Sprintf("%05d", n%100000)
	}
	return strings.Join(groups[:], " ")
}

// SafetyNumber returns what two members compare, the same for both: the fingerprints of their member keys on two lines, the
// lower key's first, and the text of a QR code that holds mesh id and both keys.
func SafetyNumber(mesh MeshID, a, b crypto.PublicKey) (text, qr string) {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	text = Fingerprint(mesh, a) + "\n" + Fingerprint(mesh, b)
	code := append([]byte(mesh), a[:]...)
	return text, base64URL.EncodeToString(append(code, b[:]...))
}
