package crypto

import (
	"bytes"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// holder has secrets wherever fmt can reach them. It cannot ask unexported fields:
// those hold what must be silent by its own shape.
type holder struct {
	Key     Key
	Pointer *Key
	List    []Key
	Map     map[string]Key
	Private PrivateKey
	Owner   *PrivateKey
	Any     any
	own     PrivateKey
	owner   *PrivateKey
	cache   *SharedCache
}

func TestSecretsDoNotPrint(t *testing.T) {
	seed := [SeedSize]byte([]byte("0123456789 alice's seed of bytes"))
	k := Key(seed)
	private := KeyFromSeed(seed)
	cache := NewSharedCache(private, 2)
	cache.put(bob.Public(), k)
	h := holder{
		Key: k, Pointer: &k, List: []Key{k}, Map: map[string]Key{"a": k}, Private: *private, Owner: private,
		Any: k, own: *private, owner: private, cache: cache,
	}

	leaks := leaksOf(seed[:])
	leaks = append(leaks, leaksOf(private.parts.box.Bytes())...)
	values := map[string]any{
		"key": k, "*key": &k, "private": *private, "*private": private, "struct": h, "*struct": &h,
		"list": []any{k, private, h}, "cache": cache, "*cache": &struct{ C *SharedCache }{cache},
	}
	verbs := []string{"%v", "%+v", "%#v", "%d", "%x", "%X", "%#x", "% x", "%s", "%q", "%b", "%o", "%c", "%U", "%t", "%e", "%08d", "%z"}
	for name, value := range values {
		for _, verb := range verbs {
			wantSilent(t, name+" under "+verb, fmt.Sprintf(verb, value), leaks)
		}
		wantSilent(t, name+" with Sprint", fmt.Sprint(value), leaks)
		for _, mistake := range []string{"", "%[2]d", "%*d"} {
			wantSilent(t, name+" under the mistaken "+mistake, fmt.Sprintf(mistake, value), leaks)
		}
		wantSilent(t, name+" in an error", fmt.Errorf("open: %v", value).Error(), leaks)
		for _, log := range logs(value) {
			wantSilent(t, name+" in a log", log, leaks)
		}
	}
	for _, direct := range []any{k, &k, private, *private} {
		for _, verb := range verbs {
			if got := fmt.Sprintf(verb, direct); got != redaction {
				t.Errorf("%T under %s: got %s", direct, verb, got)
			}
		}
	}
}

// leaksOf lists the spellings of the first bytes of a secret that fmt could produce.
func leaksOf(secret []byte) []string {
	b := secret[:6]
	sp := func(format string) string { return strings.Trim(fmt.Sprintf(format, b), "[]") }
	return []string{
		string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		sp("%d"), sp("% x"), sp("% X"), sp("%o"), sp("%b"), sp("%c"), sp("%U"), sp("%q"), sp("%08d"),
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}"),
	}
}

func wantSilent(t *testing.T, what, text string, leaks []string) {
	t.Helper()
	for _, leak := range leaks {
		if strings.Contains(text, leak) {
			t.Errorf("%s shows %q: %s", what, leak, text)
			return
		}
	}
}

func logs(value any) []string {
	var text, lines bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "value", value)
	slog.New(slog.NewJSONHandler(&lines, nil)).Info("m", "value", value)
	return []string{text.String(), lines.String()}
}

func TestSecretsInLogs(t *testing.T) {
	for _, value := range []any{NewKey(), GenerateKey()} {
		for _, log := range logs(value) {
			if !strings.Contains(log, redaction) {
				t.Errorf("%T: got %s", value, log)
			}
		}
	}
}

func TestSecretsDoNotMarshal(t *testing.T) {
	k := NewKey()
	private := GenerateKey()
	for _, value := range []any{k, *private} {
		if text, err := value.(encoding.TextMarshaler).MarshalText(); err == nil {
			t.Errorf("text of %T: got %s", value, text)
		}
		if text, err := value.(json.Marshaler).MarshalJSON(); err == nil {
			t.Errorf("json of %T: got %s", value, text)
		}
	}
	for _, value := range []any{
		k, &k, *private, private, []Key{k}, map[string]any{"k": k}, map[Key]int{k: 1},
		struct{ K Key }{k}, struct{ K *PrivateKey }{private}, struct{ K PrivateKey }{*private},
	} {
		if text, err := json.Marshal(value); err == nil {
			t.Errorf("json of %T: got %s", value, text)
		}
	}
}
