package crypto

import (
	"bytes"
	"math/big"
	"testing"

	"filippo.io/edwards25519"
)

// refusalOf names why p cannot be a key by curve arithmetic, without the tables of
// point.go.
func refusalOf(p PublicKey) string {
	y := new(big.Int)
	for i := range p {
		b := p[len(p)-1-i]
		if i == 0 {
			b &= 0x7f
		}
		y.Or(y.Lsh(y, 8), big.NewInt(int64(b)))
	}
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	if y.Cmp(prime) >= 0 {
		return "non_canonical"
	}
	point, err := new(edwards25519.Point).SetBytes(p[:])
	if err != nil {
		return "off_curve"
	}
	identity := edwards25519.NewIdentityPoint()
	if new(edwards25519.Point).MultByCofactor(point).Equal(identity) == 1 {
		return "small_order"
	}
	// l*p = (l-1)*p + p
	sum := new(edwards25519.Point).ScalarMult(minusOne, point)
	if sum.Add(sum, point).Equal(identity) != 1 {
		return "off_subgroup"
	}
	return "ok"
}

func TestCanonicalPoint(t *testing.T) {
	y := bytes.Repeat([]byte{0xff}, KeySize) // 2^256 - 1, little-endian
	for _, sign := range []byte{0x7f, 0xff} {
		y[31] = sign
		for first := 0xe8; first <= 0xff; first++ { // 2^255 - 24 to 2^255 - 1
			y[0] = byte(first)
			if got, want := canonicalPoint(y), first < 0xed; got != want {
				t.Errorf("%x: got %t, want %t", y, got, want)
			}
		}
		y[0] = 0xff
		for i := 1; i < KeySize; i++ {
			y[i] ^= 1
			if !canonicalPoint(y) {
				t.Errorf("%x is below p", y)
			}
			y[i] ^= 1
		}
	}
}

func TestSmallOrderTableIsComplete(t *testing.T) {
	// l times a point outside the subgroup, of full order 8l, is a point of order 8.
	var eighth *edwards25519.Point
	for y := byte(2); eighth == nil; y++ {
		p, err := new(edwards25519.Point).SetBytes(append([]byte{y}, make([]byte, 31)...))
		if err != nil {
			continue
		}
		q := new(edwards25519.Point).ScalarMult(minusOne, p)
		q.Add(q, p)
		four := new(edwards25519.Point).Add(q, q)
		four.Add(four, four)
		if four.Equal(edwards25519.NewIdentityPoint()) == 0 {
			eighth = q
		}
	}
	seen := map[[KeySize]byte]bool{}
	p := edwards25519.NewIdentityPoint()
	for range 8 {
		enc := p.Bytes()
		if !smallOrder(enc) {
			t.Errorf("%x is of small order", enc)
		}
		enc[31] &= 0x7f
		seen[[KeySize]byte(enc)] = true
		p.Add(p, eighth)
	}
	if len(seen) != len(smallOrderY) {
		t.Errorf("got %d y coordinates of small order, want %d", len(seen), len(smallOrderY))
	}
}

func TestConvertAgreesWithArithmetic(t *testing.T) {
	eachBackend(t, func(t *testing.T) {
		accepted := 0
		for i := range 200 {
			p := PublicKey(Hash([]byte{byte(i)}))
			want := refusalOf(p) == "ok"
			if p.Valid() != want {
				t.Errorf("%s: valid is %t, arithmetic says %s", p, p.Valid(), refusalOf(p))
			}
			if want {
				accepted++
			}
		}
		// One of two strings is on the curve, one of eight of those in the subgroup.
		if accepted < 3 || accepted > 40 {
			t.Errorf("%d of 200 random strings are keys", accepted)
		}
	})
}
