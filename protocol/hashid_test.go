package protocol

import (
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

// TestHashID compares with arithmetic that nobody doubts.
func TestHashID(t *testing.T) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for i := range 2000 {
		b := []byte(strconv.Itoa(i))
		h := crypto.Hash(b)
		n, base, digit := new(big.Int).SetBytes(h[:23]), big.NewInt(62), new(big.Int)
		var want []byte
		for range idLength {
			n.DivMod(n, base, digit)
			want = append(want, digits[digit.Int64()])
		}
		slices.Reverse(want)
		if got := hashID(b); string(got[:]) != string(want) {
			t.Fatalf("%d: %s, want %s", i, got, want)
		}
	}
}
