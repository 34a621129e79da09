package config

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// cheap is a sealing that costs nothing, for tests.
func cheap(pass string) *Sealing { return newSealing([]byte(pass), 1, 8) }

func TestSealing(t *testing.T) {
	plain := []byte("all my keys")
	file := cheap("horse").Seal(plain)
	if len(file) != HeadSize+len(plain)+crypto.Overhead || string(file[:4]) != "CMB2" {
		t.Errorf("sealed file %x", file)
	}
	got, err := OpenSealed(file, []byte("horse"))
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opened %q, %v", got, err)
	}
	if _, err := OpenSealed(file, []byte("Horse")); protocol.CodeOf(err) != protocol.CodeUnauthorized {
		t.Errorf("wrong passphrase: %v", err)
	}
	if bytes.Equal(cheap("horse").Seal(plain), file) {
		t.Error("two files of one passphrase are the same")
	}
	for i := range file { // every bit of it is authenticated
		broken := bytes.Clone(file)
		broken[i] ^= 1
		if _, err := openSealed(broken, []byte("horse"), 2, 16); err == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
	for n := range len(file) {
		if _, err := openSealed(file[:n], []byte("horse"), 2, 16); err == nil {
			t.Errorf("cut to %d bytes", n)
		}
	}
}

// What a file asks of its reader is bounded before anything is computed.
func TestSealingLimits(t *testing.T) {
	for name, cost := range map[string][2]uint32{
		"passes": {maxSealPasses + 1, 8}, "memory": {1, maxSealKiB + 1}, "no pass": {0, 8}, "no memory": {1, 0}, "all": {1<<32 - 1, 1<<32 - 1},
	} {
		file := cheap("horse").Seal(nil)
		binary.BigEndian.PutUint32(file[4:], cost[0])
		binary.BigEndian.PutUint32(file[8:], cost[1])
		if _, err := OpenSealed(file, []byte("horse")); protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing opens but what was sealed under that very passphrase.
func FuzzOpenSealed(f *testing.F) {
	genuine := cheap("horse").Seal([]byte("all my keys"))
	f.Add(genuine, []byte("horse"), uint16(0), byte(0))
	f.Add(genuine, []byte("horse"), uint16(30), byte(1))
	f.Add([]byte("CMB2"), []byte(""), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, file, pass []byte, at uint16, by byte) {
		edited := bytes.Clone(genuine)
		if edited[int(at)%len(edited)] ^= by; by != 0 {
			if _, err := openSealed(edited, []byte("horse"), 2, 16); err == nil {
				t.Fatalf("byte %d may be changed", int(at)%len(edited))
			}
		}
		plain, err := openSealed(file, pass, 2, 16)
		if err != nil {
			return
		}
		s := &Sealing{Head: file[:HeadSize], Key: crypto.DeriveKey(pass, [16]byte(file[12:]), binary.BigEndian.Uint32(file[4:]), binary.BigEndian.Uint32(file[8:]))}
		if !bytes.Equal(s.Seal(plain), file) {
			t.Fatal("a file opened that nobody sealed")
		}
	})
}

func TestOwnerKeyUnderPassphrase(t *testing.T) {
	home := newHome(t)
	key := crypto.GenerateKey()
	path, err := home.SaveOwnerKey("acme", meshID(1), key, cheap("horse"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	seed := key.Seed()
	if err != nil || bytes.Contains(text, []byte(key.Hex()[:64])) || bytes.Contains(text, seed[:]) {
		t.Errorf("the key lies open: %v", err)
	}
	k, err := home.OwnerKey(meshID(1))
	if err != nil || k.Key != nil || k.Public != key.Public() {
		t.Fatalf("read %+v, %v", k, err)
	}
	if err := k.Unlock([]byte("cart")); protocol.CodeOf(err) != protocol.CodeUnauthorized || k.Key != nil {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := k.Unlock([]byte("horse")); err != nil || k.Key.Hex() != key.Hex() {
		t.Errorf("unlock: %v", err)
	}
	// The public key that the file states is not believed.
	forged := filepath.Join(home.Dir(), "forged.key")
	other := crypto.GenerateKey().Public().String()
	if err := os.WriteFile(forged, []byte(strings.Replace(string(text), key.Public().String(), other, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err = ReadOwnerKey(forged)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Unlock([]byte("horse")); protocol.CodeOf(err) != protocol.CodeInvalid || k.Key != nil {
		t.Errorf("another public key: %v", err)
	}
	if err := ProtectOwnerKey(&OwnerKey{Path: path, MeshID: meshID(1), Key: key}, "acme", nil); err != nil {
		t.Fatal(err)
	}
	if k, err := home.OwnerKey(meshID(1)); err != nil || k.Key == nil {
		t.Errorf("opened for good: %v", err)
	}
}
