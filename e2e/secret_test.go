//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The wire between daemon and broker, the broker's data and every log hold neither what alice wrote nor any private key or seed,
// in no usual encoding.
func TestNothingReadable(t *testing.T) {
	b := newBroker(t)
	wire := newTap(t, b.addr)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, wire.url(), alice, bob)

	secrets := map[string][]byte{
		"body":  []byte("the staging database password is correct-horse-battery"),
		"reply": []byte("thanks, it was the off-by-one in retry_window"),
	}
	alice.must("send", "bob", string(secrets["body"]), "--wait", "10s", "--require", "delivered")
	var rows []inboxRow
	bob.json(&rows, "inbox")
	if len(rows) != 1 || rows[0].Body != string(secrets["body"]) || rows[0].From.Name != "alice" || rows[0].From.Trust != "verified" {
		t.Fatalf("bob's inbox: %+v", rows)
	}
	bob.must("reply", rows[0].ID, string(secrets["reply"]), "--wait", "10s", "--require", "delivered")
	for _, h := range []*home{alice, bob} {
		for name, key := range keysOf(t, h) {
			secrets[h.name+" "+name] = key
		}
	}

	places := map[string]string{"wire": wire.seen.String(), "broker's output": b.log.String(), "alice's daemon": alice.log.String(), "bob's daemon": bob.log.String()}
	for _, root := range []string{b.dir, alice.dir, bob.dir} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && (root == b.dir || strings.HasSuffix(path, ".log")) {
				content, _ := os.ReadFile(path)
				places[path] = string(content)
			}
			return nil
		})
	}
	if len(places["wire"]) < 2000 {
		t.Fatalf("the tap saw only %d bytes", len(places["wire"]))
	}
	if !strings.Contains(places["wire"], `"ciphertext"`) {
		t.Fatal("the tap does not see into client frames: it could not find plaintext either")
	}
	for place, content := range places {
		for name, secret := range secrets {
			for encoding, form := range encodings(secret) {
				if strings.Contains(content, form) {
					t.Errorf("%s holds %s (%s)", place, name, encoding)
				}
			}
		}
	}
}

// encodings lists how a secret could appear. The base64 forms drop what depends on neighbouring bytes.
func encodings(secret []byte) map[string]string {
	forms := map[string]string{"raw": string(secret), "hex": hex.EncodeToString(secret), "HEX": strings.ToUpper(hex.EncodeToString(secret))}
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			s := enc.EncodeToString(padded)
			forms[name+string(rune('0'+shift))] = s[4 : len(s)-4]
		}
	}
	return forms
}

// keysOf finds the private keys of a home: the seeds in config.json and in the owner key's file.
func keysOf(t *testing.T, h *home) map[string][]byte {
	t.Helper()
	keys := map[string][]byte{}
	dir := filepath.Join(h.dir, ".claudemesh")
	var config struct {
		Meshes []struct {
			SecretKey string `json:"secretKey"`
		} `json:"meshes"`
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "config.json"))), &config); err != nil {
		t.Fatal(err)
	}
	for _, m := range config.Meshes {
		raw, err := hex.DecodeString(m.SecretKey)
		if err != nil || len(raw) != 64 {
			t.Fatalf("secretKey of %s is not 128 hex digits", h.name)
		}
		keys["member seed"] = raw[:32]
	}
	owners, _ := filepath.Glob(filepath.Join(dir, "owner-*.key"))
	for _, f := range owners {
		for _, word := range strings.FieldsFunc(read(t, f), func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
			if len(word) >= 64 {
				raw, _ := hex.DecodeString(word[:64])
				keys["owner seed"] = raw
			}
		}
	}
	if len(keys) == 0 || h.name == "alice" && len(keys) < 2 {
		t.Fatalf("%s's keys not found: %d", h.name, len(keys))
	}
	return keys
}
