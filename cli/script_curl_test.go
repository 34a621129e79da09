//go:build !windows

package cli

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"

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
