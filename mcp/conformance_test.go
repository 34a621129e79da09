//go:build e2e

package mcp

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// scenarios of the protocol's conformance suite that say something about this server. Two of them call tools of the suite's own; what they check is
// the shape of a result and of an error, so they are led to tools of ours that give one.
var applicable = map[string]*sdk.CallToolParamsRaw{
	"server-initialize": nil, "ping": nil, "tools-list": nil,
	"logging-set-level": nil, "resources-list": nil, "prompts-list": nil, // offered by the library: nothing to log, empty lists
	"tools-call-simple-text": {Name: "list_peers", Arguments: json.RawMessage(`{}`)},
	"tools-call-error":       {Name: "set_status", Arguments: json.RawMessage(`{"status":"asleep"}`)},
}

// the suite's names of its own tools
var suiteTools = map[string]string{"test_simple_text": "tools-call-simple-text", "test_error_handling": "tools-call-error"}

const (
	noSuchContent  = "wants a tool that answers with an image, a sound, a resource or a mixture: ours answer with text"
	noSuchCall     = "wants a tool that logs, reports progress, samples or asks the user while it runs: ours do none of it"
	noSuchFeature  = "wants resources, prompts or completions of the suite's own: this server has tools only"
	otherTransport = "is about HTTP, and HTTP is here for this test alone: the server speaks on stdin and stdout"
	ownSchema      = "wants a tool with a schema of the suite's own"
)

var inapplicable = map[string]string{
	"completion-complete": noSuchFeature,
	"tools-call-image":    noSuchContent, "tools-call-audio": noSuchContent, "tools-call-embedded-resource": noSuchContent, "tools-call-mixed-content": noSuchContent,
	"tools-call-with-logging": noSuchCall, "tools-call-with-progress": noSuchCall, "tools-call-sampling": noSuchCall, "tools-call-elicitation": noSuchCall,
	"elicitation-sep1034-defaults": noSuchCall, "elicitation-sep1330-enums": noSuchCall,
	"json-schema-2020-12": ownSchema,
	"server-sse-polling":  otherTransport, "server-sse-multiple-streams": otherTransport, "dns-rebinding-protection": otherTransport,
	"resources-read-text": noSuchFeature, "resources-read-binary": noSuchFeature, "resources-templates-read": noSuchFeature,
	"resources-subscribe": noSuchFeature, "resources-unsubscribe": noSuchFeature,
	"prompts-get-simple": noSuchFeature, "prompts-get-with-args": noSuchFeature, "prompts-get-embedded-resource": noSuchFeature, "prompts-get-with-image": noSuchFeature,
}

var verdict = regexp.MustCompile(`(?m)^\S+ ([a-z0-9-]+): ([0-9]+) passed, ([0-9]+) failed$`)

// The suite of the protocol's authors, against the server that `claudemesh mcp` serves. CONFORMANCE_BIN names its executable, which has a node of
// version 22 or newer beside it. The suite knows HTTP only, so the server stands behind the library's handler for it.
func TestConformance(t *testing.T) {
	suite := os.Getenv("CONFORMANCE_BIN")
	if suite == "" {
		t.Skip("CONFORMANCE_BIN does not name the executable of @modelcontextprotocol/conformance")
	}
	web := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server {
		srv := newServer(Config{Mesh: newFakeMesh(), Version: "test"}).build()
		srv.AddReceivingMiddleware(led)
		return srv
	}, nil))
	defer web.Close()
	cmd := exec.CommandContext(t.Context(), suite, "server", "--url", web.URL, "--suite", "all")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(suite)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput() // its status is that of all scenarios, the inapplicable ones too
	seen := map[string]bool{}
	for _, m := range verdict.FindAllStringSubmatch(string(out), -1) {
		name, passed := m[1], m[2] != "0" && m[3] == "0"
		seen[name] = true
		_, applies := applicable[name]
		why, known := inapplicable[name]
		switch {
		case applies && !passed:
			t.Errorf("%s failed", name)
		case applies:
			t.Logf("%s passed", name)
		case !known:
			t.Errorf("%s is new: does it apply?", name)
		default:
			t.Logf("%s does not apply: it %s", name, why)
		}
	}
	for name := range applicable {
		if !seen[name] {
			t.Errorf("%s did not run", name)
		}
	}
	if t.Failed() {
		t.Logf("%v\n%s", err, out)
	}
}

// led leads calls of the suite's tools to ours.
func led(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		if call, ok := req.(*sdk.CallToolRequest); ok {
			if to := applicable[suiteTools[call.Params.Name]]; to != nil {
				call.Params = to
			}
		}
		return next(ctx, method, req)
	}
}
