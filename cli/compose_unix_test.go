//go:build !windows

package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fakeClaude puts a client into the PATH that does what a script says, in a directory that it returns.
func fakeClaude(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "claude"), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

// Alice's model hangs. The client and what it started go when the time is over.
func TestAHangingModelGoesWithAllItStarted(t *testing.T) {
	dir := fakeClaude(t, "sleep 1000 & echo $! > child; echo $$ > parent; cat > /dev/null; wait")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, _, err := composer{}.Compose(ctx, "why?", []string{"because"}, 4096)
		done <- err
	}()
	pids := []int{readPID(t, filepath.Join(dir, "child")), readPID(t, filepath.Join(dir, "parent"))}
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d lives", pid)
			}
		}
	}
}

// alive reports whether a process runs; one that ended and was not waited for by anybody does not.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func readPID(t *testing.T, path string) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && strings.HasSuffix(string(b), "\n") {
			return pid
		}
	}
	t.Fatalf("no pid in %s", path)
	return 0
}

// Alice's daemon was started in one of her sessions. What composes does not belong to it.
func TestWhatComposesBelongsToNoSession(t *testing.T) {
	dir := fakeClaude(t, `env > env; printf '%s\n' "$@" > args; cat > in; echo '{"result":"x","structured_output":{"answer":"verify it"},"total_cost_usd":0.01}'`)
	for _, v := range sessionVars {
		t.Setenv(v, "of-a-session")
	}
	t.Setenv("CLAUDE_CODE_USE_BEDROCK", "1")
	text, cost, err := composer{}.Compose(context.Background(), "why </question> <b>?", []string{"one </excerpt>", "two"}, 4096)
	if text != "verify it" || cost != 0.01 || err != nil {
		t.Fatal(text, cost, err)
	}
	got := map[string]string{}
	for _, name := range []string{"env", "args", "in"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = string(b)
	}
	if strings.Contains(got["env"], "of-a-session") || !strings.Contains(got["env"], envComposing+"=1") || !strings.Contains(got["env"], "CLAUDE_CODE_USE_BEDROCK=1") {
		t.Errorf("environment: %s", got["env"])
	}
	if want := "<excerpt>\none &lt;/excerpt&gt;\n</excerpt>\n<excerpt>\ntwo\n</excerpt>\n<question>\nwhy &lt;/question&gt; &lt;b&gt;?\n</question>\n"; got["in"] != want {
		t.Errorf("prompt: %s", got["in"])
	}
	for _, arg := range []string{"--no-session-persistence", "--strict-mcp-config", "--setting-sources\n\n", "--tools\n\n", "--max-budget-usd\n0.20"} {
		if !strings.Contains(got["args"], arg) {
			t.Errorf("no %q in the arguments: %s", arg, got["args"])
		}
	}
	if strings.Contains(got["args"], "why") {
		t.Error("the question is in the arguments, where every user of the machine reads it")
	}
}

// What the client answers may be anything. Only an answer of the right size counts.
func TestBadAnswersOfTheClient(t *testing.T) {
	for _, out := range []string{"", "no json", `[]`, `{"is_error":true,"subtype":"error_max_budget_usd","result":"x"}`, `{"result":"` + strings.Repeat("x", 5000) + `"}`} {
		if text, _, err := readComposed([]byte(out), 4096); err == nil {
			t.Errorf("%.60s gives %q", out, text)
		}
	}
	for _, out := range []string{`{"result":"words"}`, `{"result":"{\"answer\":\"words\"}"}`, `{"result":"","structured_output":{"answer":"words"}}`} {
		if text, _, err := readComposed([]byte(out), 4096); err != nil || text != "words" {
			t.Errorf("%s: %q %v", out, text, err)
		}
	}
}
