//go:build !windows

package cli

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func TestMain(m *testing.M) {
	os.Setenv("GORACE", "atexit_sleep_ms=0") // a verb under the race detector would sleep for a second when it ends
	testscript.Main(m, map[string]func(){
		"claudemesh": func() {
			config.SealCost = config.Cost{Passes: 1, KiB: 1 << 10}
			completionTimeout = time.Minute
			os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// Every file of testdata/script is one story, with a real broker and real daemons as processes.
//
//	broker start | stop | kill     a broker of the story's own; a restarted one keeps its address. Sets BROKER and TOKEN.
//	alice send bob hi              a verb in alice's home; bob and cathy likewise, and dora, whose home has a very long path: DORA
//	exits 5 alice send zoe hi      the same, with that exit code
//	parallel 20 alice send bob hi  twenty at once, all must succeed
//	set ID id                      ID becomes the field of the JSON on stdout; a path may have dots and indexes
//	want recipients.0.state queued the field has that value
//	keys 0.from name pubkey        the object there has these fields; "." is the whole document
//	count 3                        the JSON list on stdout has three items
//	follow bob inbox --follow      starts a verb that goes on
//	next 'regexp'                  its next line matches; a group in it becomes NEXT
//	forge expired 5                EXPIRED is a link that was good until the 5th second of 1970; forge foreign 9999999999 likewise
//	fetch URL regexp               what is served there matches
//	twins alice                    registers two API keys of hers that begin alike: TWIN1, TWIN2, and HEAD, which they share
//	curl 401 -s URL                runs curl, wants that HTTP status; --token FILE sends the bearer token in it
//	port NAME                      NAME becomes a free port
//	doc NAME                       NAME becomes that example of docs/scripting.md
//	answered bob TEXT              waits until bob has a message that begins so
//	mode FILE 600                  the file has these permissions
//	proxy http NAME USER PASSWORD  starts a forward proxy (or: socks) that knows the broker as NAME; PROXY is its address
//	front PATH [no-upgrade]        starts a reverse proxy that serves the broker under PATH; FRONT is its address
//	cert localhost                 makes localhost.pem and localhost-key.pem
//	unwritable 10 stdout full bob members  a verb whose stdout (or stderr) is full (or closed) exits with that code; SAID has the rest
//	broken stuck stdout FILE bob hook stop  a verb with FILE as stdin whose reader fails: see cmdBroken
//	again yes ID TEXT              bob's next prompt brings that message, marked, and alice, who knew of nothing, is told: see cmdAgain
//	unfollow                       SIGINT ends it with exit code 0
func TestScripts(t *testing.T) {
	testscript.Run(t, scriptParams())
}

func scriptParams() testscript.Params {
	return testscript.Params{
		Dir:                filepath.Join("..", "testdata", "script"),
		Setup:              setupScript,
		RequireUniqueNames: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"broker": cmdBroker, "alice": person("alice"), "bob": person("bob"), "cathy": person("cathy"), "dora": person(doras),
			"exits": cmdExits, "parallel": cmdParallel, "set": cmdSet, "want": cmdWant, "count": cmdCount,
			"keys": cmdKeys, "follow": cmdFollow, "next": cmdNext, "unfollow": cmdUnfollow,
			"fetch": cmdFetch, "cert": cmdCert, "forge": cmdForge, "twins": cmdTwins, "keysend": cmdKeySend,
			"proxy": cmdProxy, "front": cmdFront,
			"curl": cmdCurl, "port": cmdPort, "mode": cmdMode, "doc": cmdDoc, "answered": cmdAnswered,
			"unwritable": cmdUnwritable, "broken": cmdBroken, "again": cmdAgain,
		},
	}
}

// doras is the home of dora, whose path is too long for a socket.
var doras = strings.Repeat("dora", 40)

var people = []string{"alice", "bob", "cathy", doras}

type (
	brokerKey struct{}
	followKey struct{}
)

func setupScript(e *testscript.Env) error {
	e.Values[brokerKey{}] = &scriptBroker{}
	e.Values[followKey{}] = &follower{}
	e.Values[networkKey{}] = &network{}
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("NO_COLOR", "1")
	e.Setenv("DORA", doras)
	e.Setenv("GORACE", os.Getenv("GORACE"))
	e.Defer(func() {
		e.Values[followKey{}].(*follower).end()
		e.Values[networkKey{}].(*network).end()
		e.Values[brokerKey{}].(*scriptBroker).end(syscall.SIGKILL)
		for _, p := range people {
			stopLeftover(filepath.Join(e.WorkDir, p))
		}
	})
	return nil
}

// stopLeftover ends the daemon of a home, which verbs start in the background.
func stopLeftover(home string) {
	b, err := os.ReadFile(filepath.Join(home, "daemon.pid"))
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// scriptBroker is the broker of one story.
type scriptBroker struct {
	cmd  *exec.Cmd
	addr string
}

func (b *scriptBroker) end(sig syscall.Signal) {
	if b.cmd != nil {
		_ = b.cmd.Process.Signal(sig)
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

func cmdBroker(ts *testscript.TestScript, neg bool, args []string) {
	b := ts.Value(brokerKey{}).(*scriptBroker)
	if neg || len(args) != 1 {
		ts.Fatalf("usage: broker start|stop|kill")
	}
	switch args[0] {
	case "start":
		b.start(ts)
	case "stop":
		b.end(syscall.SIGTERM)
	case "kill":
		b.end(syscall.SIGKILL)
	}
}

func (b *scriptBroker) start(ts *testscript.TestScript) {
	listen := b.addr
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	dir := ts.MkAbs("broker")
	exe, err := exec.LookPath("claudemesh")
	ts.Check(err)
	b.cmd = exec.Command(exe, "broker", "--listen", listen, "--data", dir)
	b.cmd.Dir, b.cmd.Env = ts.MkAbs("."), []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH")}
	var stderr bytes.Buffer
	b.cmd.Stderr = &stderr
	out, err := b.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(b.cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	m := regexp.MustCompile(`ws://(\S+)/ws`).FindStringSubmatch(line)
	if m == nil {
		b.end(syscall.SIGKILL)
		ts.Fatalf("the broker did not start: %s%s", line, stderr.String())
	}
	b.addr = m[1]
	ts.Setenv("BROKER", m[1])
	ts.Setenv("TOKEN", filepath.Join(dir, "admin-token"))
	ts.Setenv("DATA", dir)
}

func person(name string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := runAs(ts, name, args)
		if (err != nil) != neg {
			ts.Fatalf("%s %s: %v, want success %v", name, strings.Join(args, " "), err, !neg)
		}
	}
}

func runAs(ts *testscript.TestScript, name string, args []string) error {
	ts.Setenv("CLAUDEMESH_CONFIG_DIR", ts.MkAbs(filepath.Join(ts.Getenv("WORK"), name)))
	return ts.Exec("claudemesh", args...)
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PERSON VERB…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](runAs(ts, args[1], args[2:])); ok {
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s: exit %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func cmdParallel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: parallel N PERSON VERB…")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	exe, err := exec.LookPath("claudemesh")
	ts.Check(err)
	var wg sync.WaitGroup
	failures := make([]string, n)
	for i := range n {
		wg.Go(func() {
			cmd := exec.Command(exe, args[2:]...)
			cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "CLAUDEMESH_CONFIG_DIR=" + filepath.Join(ts.Getenv("WORK"), args[1])}
			if out, err := cmd.CombinedOutput(); err != nil {
				failures[i] = fmt.Sprintf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	for i, f := range failures {
		if f != "" {
			ts.Fatalf("call %d of %d: %s", i+1, n, f)
		}
	}
}

// stdoutJSON returns the JSON that the last verb printed.
func stdoutJSON(ts *testscript.TestScript) any {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout is not one JSON document: %v", err)
	}
	return v
}

// at returns the value at a path.
func at(ts *testscript.TestScript, path string) any {
	v := stdoutJSON(ts)
	if path == "." {
		return v
	}
	for part := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			inner, ok := at[part]
			if !ok {
				ts.Fatalf("%s: there is no %q", path, part)
			}
			v = inner
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(at) {
				ts.Fatalf("%s: there is no item %s of %d", path, part, len(at))
			}
			v = at[i]
		default:
			ts.Fatalf("%s: %q is below a plain value", path, part)
		}
	}
	return v
}

func field(ts *testscript.TestScript, path string) string {
	v := at(ts, path)
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	ts.Check(err)
	return string(b)
}

func cmdSet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: set NAME PATH")
	}
	ts.Setenv(args[0], field(ts, args[1]))
}

func cmdWant(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: want PATH REGEXP")
	}
	got := field(ts, args[0])
	re, err := regexp.Compile("^(?:" + args[1] + ")$")
	ts.Check(err)
	if re.MatchString(got) == neg {
		ts.Fatalf("%s is %q", args[0], got)
	}
}

func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	items, ok := stdoutJSON(ts).([]any)
	if !ok || neg || len(args) != 1 {
		ts.Fatalf("count N of a JSON list")
	}
	if strconv.Itoa(len(items)) != args[0] {
		ts.Fatalf("%d items, want %s", len(items), args[0])
	}
}

func cmdKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: keys PATH NAME…")
	}
	object, ok := at(ts, args[0]).(map[string]any)
	if !ok {
		ts.Fatalf("%s is no object", args[0])
	}
	for _, name := range args[1:] {
		if _, ok := object[name]; !ok {
			ts.Fatalf("%s has no %q", args[0], name)
		}
	}
}

// follower is a verb that goes on while the story does.
type follower struct {
	cmd   *exec.Cmd
	lines *bufio.Reader
}

func (f *follower) end() {
	if f.cmd != nil {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
		f.cmd = nil
	}
}

func cmdFollow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: follow PERSON VERB…")
	}
	f := ts.Value(followKey{}).(*follower)
	exe, err := exec.LookPath("claudemesh")
	ts.Check(err)
	f.cmd = exec.Command(exe, args[1:]...)
	f.cmd.Dir = ts.MkAbs(".")
	f.cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "CLAUDEMESH_CONFIG_DIR=" + filepath.Join(ts.Getenv("WORK"), args[0])}
	out, err := f.cmd.StdoutPipe()
	ts.Check(err)
	f.lines = bufio.NewReader(out)
	ts.Check(f.cmd.Start())
}

func cmdNext(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: next REGEXP")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	line, err := ts.Value(followKey{}).(*follower).lines.ReadString('\n')
	m := re.FindStringSubmatch(line)
	if m == nil {
		ts.Fatalf("the next line is %q (%v)", line, err)
	}
	if len(m) > 1 {
		ts.Setenv("NEXT", m[1])
	}
}

func cmdUnfollow(ts *testscript.TestScript, neg bool, _ []string) {
	f := ts.Value(followKey{}).(*follower)
	if neg || f.cmd == nil {
		ts.Fatalf("nothing is followed")
	}
	ts.Check(f.cmd.Process.Signal(os.Interrupt))
	ts.Check(f.cmd.Wait())
	f.cmd = nil
}

func cmdFetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fetch URL REGEXP")
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	res, err := client.Get(args[0])
	ts.Check(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	ts.Check(err)
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	if !re.Match(b) {
		ts.Fatalf("%s: %s", res.Status, b)
	}
}

func cmdCert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: cert NAME")
	}
	cert, key, err := selfSigned(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pem"), cert, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+"-key.pem"), key, 0o600))
}

// cmdForge makes a link as a stranger would: well formed, for a mesh that nobody has.
func cmdForge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: forge NAME UNIX-TIME")
	}
	expires, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	owner, link := crypto.GenerateKey(), crypto.GenerateKey()
	charter := &protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "forged"}
	invite, err := protocol.Sign(&protocol.Invite{Mesh: charter.MeshID(), Issuer: owner.Public(), Link: link.Public(), Role: protocol.RoleMember,
		Uses: 1, Expires: expires, URL: "ws://" + ts.Getenv("BROKER") + "/ws", Owner: owner.Public()}, owner)
	ts.Check(err)
	ts.Setenv(strings.ToUpper(args[0]), protocol.MakeLink(invite, link.Seed()))
}
