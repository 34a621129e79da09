//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// The inspector of the protocol's authors lists our tools and calls each. INSPECTOR_BIN names mcp-inspector.
func TestInspector(t *testing.T) {
	inspector := os.Getenv("INSPECTOR_BIN")
	if inspector == "" {
		t.Skip("INSPECTOR_BIN does not name an mcp-inspector executable")
	}
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	inspect := func(v any, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, inspector, append([]string{"--cli", bin, "mcp"}, args...)...)
		cmd.Env = alice.env
		for _, e := range alice.env {
			if strings.HasPrefix(e, "HOME=") || strings.HasPrefix(e, "CLAUDEMESH_") {
				cmd.Args = append(cmd.Args, "-e", e)
			}
		}
		out, err := cmd.Output()
		if err != nil || json.Unmarshal(out, v) != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	var list struct {
		Tools []struct {
			Name         string
			Annotations  map[string]any
			OutputSchema map[string]any
		}
	}
	inspect(&list, "--method", "tools/list")
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
		if tool.Annotations == nil || tool.OutputSchema == nil {
			t.Errorf("%s lacks annotations or an output schema", tool.Name)
		}
	}
	want := []string{"ask_mesh", "check_messages", "knowledge_requests", "list_peers", "recall", "remember", "save_file", "send_message", "set_status", "set_summary"}
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("tools %q, want %q", names, want)
	}
	call := func(wantError bool, tool string, args ...string) string {
		t.Helper()
		var res struct {
			IsError           bool
			StructuredContent json.RawMessage
			Content           []struct{ Text string }
		}
		line := []string{"--method", "tools/call", "--tool-name", tool}
		for _, a := range args {
			line = append(line, "--tool-arg", a)
		}
		inspect(&res, line...)
		if res.IsError != wantError || len(res.Content) == 0 || !wantError && len(res.StructuredContent) == 0 {
			t.Errorf("%s %v: %+v", tool, args, res)
			return ""
		}
		return res.Content[0].Text
	}
	if got := call(false, "list_peers"); !strings.Contains(got, "bob") {
		t.Errorf("list_peers: %s", got)
	}
	call(false, "send_message", "to=bob", "message=hello from the inspector")
	eventually(t, "bob has it", func() bool { return strings.Contains(bob.must("inbox"), "hello from the inspector") })
	bob.must("send", "alice", "hello inspector")
	eventually(t, "alice has it", func() bool { return strings.Contains(alice.must("inbox"), "hello inspector") })
	if got := call(false, "check_messages"); !strings.Contains(got, "hello inspector") {
		t.Errorf("check_messages: %s", got)
	}
	call(false, "remember", "note=the inspector wants node 22")
	if got := call(false, "recall", "question=which node does the inspector want"); !strings.Contains(got, "node 22") {
		t.Errorf("recall: %s", got)
	}
	if got := call(false, "ask_mesh", "question=which node does the inspector want"); got == "" {
		t.Error("ask_mesh says nothing")
	}
	call(false, "set_summary", "summary=inspecting")
	call(false, "set_status", "status=idle")
	if got := call(true, "set_status", "status=asleep"); !strings.Contains(got, "asleep") {
		t.Errorf("a wrong status: %s", got)
	}
	if got := call(true, "send_message", "to=zoe", "message=x"); !strings.Contains(got, "bob") {
		t.Errorf("an unknown name: %s", got)
	}
}
