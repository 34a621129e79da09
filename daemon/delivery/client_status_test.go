package delivery

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Whatever stands in the client's file, it is read as a status or as nothing.
func TestClientStatus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "1.json")
	for text, want := range map[string]string{
		`{"status":"busy"}`: protocol.StatusWorking, `{"status":"idle","statusUpdatedAt":1}`: protocol.StatusIdle, `{"status":"waiting"}`: protocol.StatusWaiting,
		`{"status":"shell"}`: "", `{"status":7}`: "", `{`: "", "": "", "[]": "", `{"status":"busy","statusUpdatedAt":"x"}`: "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := clientStatus(file); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got, _ := clientStatus(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("no file: %q", got)
	}
}
