package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func newHome(t *testing.T) Home {
	t.Helper()
	home, err := OpenHome(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	return home
}

// meshID is a well-formed mesh id that ends in n.
func meshID(n int) protocol.MeshID { return protocol.MeshID(fmt.Sprintf("%032d", n)) }

func membership(slug string, n int) Membership {
	return Membership{
		Slug: slug, MeshID: meshID(n), Name: "alice", Key: crypto.GenerateKey(), BrokerURL: "wss://b.example/ws",
		JoinedAt: time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC), Charter: "Y2hhcnRlcg", Invite: "aW52", Enrol: "ZW5y",
	}
}

func mustUpdate(t *testing.T, home Home, change func(*Config)) {
	t.Helper()
	if err := home.Update(func(c *Config) error { change(c); return nil }); err != nil {
		t.Fatal(err)
	}
}

func mustLoad(t *testing.T, home Home) *Config {
	t.Helper()
	c, err := home.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRoundTrip(t *testing.T) {
	home := newHome(t)
	want := membership("acme", 1)
	want.Cert, want.Log, want.Inbound, want.Insecure = "Y2VydA", []string{"bG9n"}, "hold", true
	mustUpdate(t, home, func(c *Config) { c.Add(want); c.DefaultMesh, c.DisplayName = "acme", "Alice <A>" })
	c := mustLoad(t, home)
	if c.DefaultMesh != "acme" || c.DisplayName != "Alice <A>" || len(c.Meshes) != 1 {
		t.Fatalf("loaded %+v", c)
	}
	got := c.Mesh("acme")
	if got == nil || !got.Equal(&want) || c.ByID(meshID(1)) != got || got.Key.Hex() != want.Key.Hex() {
		t.Errorf("membership changed on its way: %+v", got)
	}
	mustUpdate(t, home, func(c *Config) {
		m := c.Mesh("acme")
		m.Cert, m.Log, m.Inbound, m.Receipts, m.Insecure = "", nil, "", "", false
		c.DefaultMesh = ""
	})
	b, _ := os.ReadFile(home.ConfigFile())
	for _, gone := range []string{"cert", "log", "inbound", "receipts", "insecure", "defaultMesh"} {
		if strings.Contains(string(b), `"`+gone+`"`) {
			t.Errorf("%s is still in the file", gone)
		}
	}
	mustUpdate(t, home, func(c *Config) {
		if !c.Remove("acme") || c.Remove("acme") {
			t.Error("Remove did not tell whether there was one")
		}
	})
	if c := mustLoad(t, home); len(c.Meshes) != 0 {
		t.Errorf("the removed mesh is still there: %+v", c.Meshes)
	}
}

// original is a file as an original client writes it, and with what a later one of them might add.
const original = `{
  "version": 1,
  "meshes": [
    {
      "meshId": "AbCdEfGhIjKlMnOpQrStUvWxYz012345",
      "memberId": "mEmBeRmEmBeRmEmBeRmEmBeRmEmBeR12",
      "slug": "old", "name": "alice",
      "pubkey": "not checked", "secretKey": "not ours to read",
      "brokerUrl": "wss://old.example/ws",
      "joinedAt": "2026-01-01T00:00:00.000Z",
      "nested": {"b": 1.0, "a": [1,2 , 3], "esc": "\u00e9\/"}
    }
  ],
  "displayName": "alice",
  "accounts": {"z": 1e3, "a": "\u003c"},
  "k\u0065y": [ 1,2 ]
}
`

func TestKeepsWhatOthersWrote(t *testing.T) {
	home := newHome(t)
	if err := os.WriteFile(home.ConfigFile(), []byte(original), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, home)
	if len(c.Meshes) != 0 || len(c.Originals) != 1 || c.Originals[0].Slug != "old" || c.Originals[0].BrokerURL != "wss://old.example/ws" {
		t.Fatalf("originals %+v, meshes %+v", c.Originals, c.Meshes)
	}
	mustUpdate(t, home, func(c *Config) { c.Add(membership("acme", 1)) })
	b, _ := os.ReadFile(home.ConfigFile())
	withUnknown := strings.Replace(string(b), `"charter"`, `"futur\u0065": {"x":  [1]}, "charter"`, 1)
	if err := os.WriteFile(home.ConfigFile(), []byte(withUnknown), 0o600); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, home, func(c *Config) { c.Mesh("acme").Cert = "Y2VydA" })
	b, _ = os.ReadFile(home.ConfigFile())
	for _, part := range []string{
		`"nested": {"b": 1.0, "a": [1,2 , 3], "esc": "\u00e9\/"}`, `"accounts": {"z": 1e3, "a": "\u003c"}`, `"k\u0065y": [ 1,2 ]`,
		`"futur\u0065": {"x":  [1]}`, `"secretKey": "not ours to read"`, `"cert": "Y2VydA"`,
	} {
		if !strings.Contains(string(b), part) {
			t.Errorf("lost %s in\n%s", part, b)
		}
	}
	mustUpdate(t, home, func(c *Config) { c.Remove("acme") })
	b, _ = os.ReadFile(home.ConfigFile())
	if string(b) != original {
		t.Errorf("after adding and removing a mesh the file is not what it was:\n%s", b)
	}
}

func TestRefusesANewerFile(t *testing.T) {
	home := newHome(t)
	newer := `{"version": 2, "meshes": []}`
	if err := os.WriteFile(home.ConfigFile(), []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	err := home.Update(func(c *Config) error { c.DisplayName = "x"; return nil })
	if protocol.CodeOf(err) != protocol.CodeNotSupported {
		t.Errorf("error %v", err)
	}
	if b, _ := os.ReadFile(home.ConfigFile()); string(b) != newer {
		t.Errorf("the file was changed to %s", b)
	}
}

func TestRefusesBrokenFiles(t *testing.T) {
	home := newHome(t)
	good := membership("acme", 1)
	entry := string(good.encode(""))
	secret := good.Key.Hex()
	for name, content := range map[string]string{
		"not JSON":        `{"meshes": [`,
		"a list":          `[]`,
		"empty":           ``,
		"two values":      `{} {}`,
		"version a word":  `{"version": "one"}`,
		"meshes a number": `{"meshes": 3}`,
		"a bad key":       `{"meshes": [` + strings.Replace(entry, secret, secret[:64]+strings.Repeat("0", 64), 1) + `]}`,
		"another pubkey":  `{"meshes": [` + strings.Replace(entry, good.Key.Public().String()+`",`, crypto.GenerateKey().Public().String()+`",`, 1) + `]}`,
		"secret a number": `{"meshes": [` + strings.Replace(entry, `"`+secret+`"`, `7`, 1) + `]}`,
		"listed twice":    `{"meshes": [` + entry + `,` + entry + `]}`,
		"no time":         `{"meshes": [` + strings.Replace(entry, "2026-11", "2026", 1) + `]}`,
	} {
		if err := os.WriteFile(home.ConfigFile(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := home.Load()
		if protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret[:32]) {
			t.Errorf("%s: the error repeats the secret key", name)
		}
	}
}

// A file that an editor saved with a byte order mark is the same file.
func TestReadsAByteOrderMark(t *testing.T) {
	home := newHome(t)
	good := membership("acme", 1)
	content := "\xef\xbb\xbf" + `{"meshes": [` + string(good.encode("")) + `]}`
	if err := os.WriteFile(home.ConfigFile(), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := home.Load(); err != nil || c.Mesh("acme") == nil {
		t.Errorf("read %+v, %v", c, err)
	}
}

// Twenty writers at once, each with its own open file, lose nothing of each other.
func TestConcurrentUpdates(t *testing.T) {
	home := newHome(t)
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			err := home.Update(func(c *Config) error { c.Add(membership(fmt.Sprintf("mesh%d", n), n)); return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { // a reader sees a whole file at every moment
		defer close(done)
		for {
			c, err := home.Load()
			if err != nil {
				t.Errorf("read between writes: %v", err)
			}
			if err != nil || len(c.Meshes) == 20 {
				return
			}
		}
	}()
	wg.Wait()
	<-done
}

func TestUpdateThatFailsChangesNothing(t *testing.T) {
	home := newHome(t)
	boom := errors.New("boom")
	if err := home.Update(func(c *Config) error { c.DisplayName = "x"; return boom }); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(home.ConfigFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is there: %v", err)
	}
	if err := home.Update(func(c *Config) error { c.Add(membership("a", 1)); c.Add(membership("a", 2)); return nil }); err == nil {
		t.Error("two meshes of one slug were written")
	}
}

func TestFreeSlug(t *testing.T) {
	c := &Config{Originals: []Original{{Slug: "old"}}}
	c.Add(membership("acme", 1))
	c.Add(membership("acme-2", 2))
	long := strings.Repeat("x", 32)
	c.Add(membership(long, 3))
	for slug, want := range map[string]string{"new": "new", "acme": "acme-3", "old": "old-2", long: long[:30] + "-2"} {
		if got := c.FreeSlug(slug); got != want {
			t.Errorf("FreeSlug(%q) = %q, want %q", slug, got, want)
		}
	}
}
