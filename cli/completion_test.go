package cli

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
)

// bash asks bash what it offers for a line whose last word is being typed.
func bash(t *testing.T, words ...string) string {
	t.Helper()
	line := "claudemesh " + strings.Join(words, " ")
	script := bashScript + `
COMP_LINE="` + line + `" COMP_POINT=` + strconv.Itoa(len(line)) + `
_claudemesh claudemesh
echo "${COMPREPLY[@]}"
`
	cmd := exec.Command("bash", "--norc", "-c", script)
	cmd.Env = append(os.Environ(), "CLAUDEMESH_CONFIG_DIR="+filepath.Join(t.TempDir(), "none"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestBashCompletion(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{[]string{"cre"}, "create"},
		{[]string{"inbox", ""}, "show save read delete flush"},
		{[]string{"inbox", "--fo"}, "--follow"},
		{[]string{"daemon", "outbox", "re"}, "requeue"},
		{[]string{"--mesh", "acme", "send", "bob", "--pri"}, "--priority"},
		{[]string{"mesh", "info", "--j"}, "--json"},
		{[]string{"send", "bob", "--priority", "n"}, "now next"},
		{[]string{"send", "bob", "--require=s"}, "shown"}, // bash completes what is behind the =
		{[]string{"apikey", "create", "ci", "--cap", "read,s"}, "read,send"},
		{[]string{"status", "set", ""}, "idle working dnd"},
		{[]string{"mesh", "receipts", "acme", "o"}, "on off"},
		{[]string{"launch", "--na"}, "--name"},
		{[]string{"launch", "--resume", ""}, ""},
		{[]string{"help", "inb"}, "inbox"},
		{[]string{"backup", ""}, ""}, // bash falls back to files
	} {
		if got := bash(t, tt.words...); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.words, got, tt.want)
		}
	}
}

// completed runs the verb in a home.
func completed(t *testing.T, dir string, words ...string) []string {
	t.Helper()
	t.Setenv(config.EnvDir, dir)
	var out bytes.Buffer
	if code := newApp(nil, &out, &out).run(t.Context(), append([]string{"complete", "--"}, words...)); code != exitOK {
		t.Errorf("%q: exit %d: %s", words, code, out.String())
	}
	return strings.Fields(out.String())
}

func TestEveryVerbIsCompleted(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	literals := map[string]bool{}
	verbs().walk(nil, func(path []string, v *verb) {
		if len(path) > 0 && (len(path) > 1 || v.heading != "") {
			if got := completed(t, none, append(slices.Clone(path[:len(path)-1]), "")...); !slices.Contains(got, v.name) {
				t.Errorf("%q is not among %q", path, got)
			}
		}
		got := completed(t, none, append(slices.Clone(path), "-")...)
		for _, f := range v.flags {
			if !slices.Contains(got, "--"+f.Names()[0]) {
				t.Errorf("%q: no --%s", path, f.Names()[0])
			}
		}
		if v.max != 0 {
			for _, word := range completed(t, none, append(slices.Clone(path), "")...) {
				literals[word] = v.sub(word) == nil
			}
		}
	})
	for word, isLiteral := range literals {
		if isLiteral && !slices.Contains([]string{"idle", "working", "dnd", "all", "accept", "hold", "refuse", "on", "off", "*", "dm", "broadcast",
			filesWanted, "session-start", "user-prompt-submit", "post-tool-use", "stop", "session-end", "pre-compact", "wait", "useful", "wrong"}, word) {
			t.Errorf("%q is offered: a placeholder that nobody knows?", word)
		}
	}
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Error("completion made a home")
	}
}

// fakeDaemon answers as a daemon would, on the socket of a new home.
func fakeDaemon(t *testing.T, answer http.HandlerFunc) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cm")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "daemon.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(answer)
	srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	t.Cleanup(func() {
		srv.Close()
		os.RemoveAll(dir)
	})
	return dir
}

// A daemon that does not answer is not waited for, and nothing is said.
func TestCompletionDoesNotWait(t *testing.T) {
	gone := make(chan struct{})
	dir := fakeDaemon(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done() // the client went
		close(gone)
	})
	if got := completed(t, dir, "mesh", "use", ""); len(got) > 0 {
		t.Errorf("offered %q", got)
	}
	<-gone
	if completionTimeout > 50*time.Millisecond {
		t.Errorf("it waits for %s", completionTimeout)
	}
}

// A name that a shell could take for more than a word is not offered.
func TestHostileNamesAreNotCompleted(t *testing.T) {
	dir := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/members":
			fmt.Fprint(w, `[{"name":"bob","trust":"verified"},{"name":"$(touch pwned)","trust":"verified"},{"name":"a b","trust":"verified"},{"name":"x\ny","trust":"verified"}]`)
		case "/v1/peers":
			fmt.Fprint(w, "[{\"name\":\"bob\",\"session\":\"`id`\",\"groups\":[\"backend\",\"';id\"]},{\"name\":\"bob\",\"session\":\"api\"}]")
		}
	})
	if got := completed(t, dir, "send", ""); !slices.Equal(got, []string{"bob", "bob/api", "@backend", "*"}) {
		t.Errorf("offered %q", got)
	}
}

func TestCompletionVerbPrints(t *testing.T) {
	var out bytes.Buffer
	if code := newApp(nil, &out, &out).run(t.Context(), []string{"completion", "fish"}); code != exitOK || !strings.Contains(out.String(), "complete -c claudemesh") {
		t.Errorf("exit %d: %s", code, out.String())
	}
}
