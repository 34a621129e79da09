package broker

import (
	"encoding/base64"
	"encoding/hex"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// What passes through the broker as base64 is written into frames as it is, so it is checked where it enters.

func validBase64(s []byte) bool {
	_, err := base64.StdEncoding.Strict().Decode(make([]byte, base64.StdEncoding.DecodedLen(len(s))), s)
	return err == nil
}

func validNonce(s []byte) bool { return len(s) == nonceSize && validBase64(s) }

func validKeyOrEmpty(s string) bool {
	_, err := crypto.ParsePublicKey(s)
	return s == "" || err == nil
}

// hexOf writes the digits of key to dst.
func hexOf(dst *[2 * crypto.KeySize]byte, key crypto.PublicKey) []byte {
	hex.Encode(dst[:], key[:])
	return dst[:]
}

var priorityBytes = [...][]byte{
	queue.Now: []byte(protocol.PriorityNow), queue.Next: []byte(protocol.PriorityNext), queue.Low: []byte(protocol.PriorityLow),
}
