//go:build !windows

package cli

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdCurl runs curl and wants an HTTP status, 000 for no answer. --token FILE sends what the file holds as the bearer token.
func cmdCurl(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: curl status argument…")
	}
	var line []string
	for i := 1; i < len(args); i++ {
		switch args[i] {
		case "--token":
			i++
			line = append(line, "-H", "Authorization: Bearer "+strings.TrimSpace(ts.ReadFile(args[i])))
		case "--unix-socket":
			i++
			line = append(line, "--unix-socket", ts.MkAbs(args[i]))
		default:
			line = append(line, args[i])
		}
	}
	cmd := exec.Command("curl", append(line, "--path-as-is", "-m", "30", "-w", "\n%{http_code}")...)
	out, err := cmd.Output() // curl fails where there is no answer
	text, status, _ := strings.Cut(string(out), "\n")
	if i := strings.LastIndexByte(string(out), '\n'); i >= 0 {
		text, status = string(out[:i]), string(out[i+1:])
	}
	ts.Check(os.WriteFile(ts.MkAbs("curl.out"), []byte(text), 0o600))
	if status != args[0] {
		ts.Fatalf("curl: %s (%v), want %s: %s", status, err, args[0], text)
	}
	ts.Check(ts.Exec("cat", "curl.out")) // so that stdout, want and set see it
}

// cmdPort finds a port that nobody listens on.
func cmdPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer ln.Close()
	ts.Setenv(args[0], strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}

// cmdMode wants a file to have these permissions.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode file 600")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

// cmdDoc takes an example out of docs/scripting.md: the code behind the comment that names it.
func cmdDoc(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: doc name")
	}
	page, err := os.ReadFile(docsDir + "/scripting.md")
	ts.Check(err)
	_, rest, found := strings.Cut(string(page), "<!-- test: "+args[0]+" -->\n```sh\n")
	code, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		ts.Fatalf("docs/scripting.md has no example %s", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(code+"\n"), 0o600))
}

// docsDir is found before any script changes the directory.
var docsDir = func() string {
	dir, err := filepath.Abs(filepath.Join("..", "docs"))
	if err != nil {
		panic(err)
	}
	return dir
}()

// cmdAnswered waits until a person has a message with that text.
func cmdAnswered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: answered person text")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	exe, err := exec.LookPath("claudemesh")
	ts.Check(err)
	cmd := exec.CommandContext(ctx, exe, "inbox", "--follow", "--json")
	cmd.Env = append(os.Environ(), "CLAUDEMESH_CONFIG_DIR="+ts.MkAbs(args[0]), "HOME="+ts.Getenv("HOME"))
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	lines := bufio.NewScanner(out)
	found := false
	for !found && lines.Scan() {
		found = strings.Contains(lines.Text(), `"body":"`+args[1])
	}
	cmd.Process.Kill()
	cmd.Wait()
	if !found {
		ts.Fatalf("%s got no %q", args[0], args[1])
	}
}
