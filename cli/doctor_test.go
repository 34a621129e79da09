package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	way "github.com/claudemesh/claudemesh/daemon/probe"
	"github.com/claudemesh/claudemesh/protocol"
)

// The daemon remembers that it was refused for its clock; doctor says whether the clock is wrong now.
func TestDoctorOnTheClockOfNow(t *testing.T) {
	refused := protocol.MeshHealth{State: protocol.ConnRefused, ErrorCode: protocol.CodeTimestamp, LastError: "your clock is off by 72h0m0s"}
	for name, c := range map[string]struct {
		walk way.Report
		want string
	}{
		"still wrong":      {way.Report{Cause: brokerhttp.CauseClock, Sentence: "this machine's clock is 4320 min ahead of the broker's"}, "4320 min ahead"},
		"set since":        {way.Report{OK: true}, "agree now"},
		"broker away, too": {way.Report{Cause: brokerhttp.CausePort, Sentence: "nobody listens"}, "more than a minute apart"},
	} {
		e := &examination{}
		e.broker("mesh acme", "wss://relay.example/ws", refused, c.walk)
		if got := e.findings[0]; got.Level != levelProblem || !strings.Contains(got.Message, c.want) || strings.Contains(got.Message, "72h") {
			t.Errorf("%s: %+v", name, got)
		}
		if at := reachOf("acme", "wss://relay.example/ws", refused, c.walk); !strings.Contains(at.Sentence, c.want) {
			t.Errorf("%s: %+v", name, at)
		}
	}
}

func TestDoctorOnWhoseClock(t *testing.T) {
	for name, c := range map[string]struct {
		skews map[string]time.Duration
		level string
		want  string
	}{
		"agrees":              {map[string]time.Duration{"a": time.Second, "b": -2 * time.Second}, levelOK, "within 2 s"},
		"drifts":              {map[string]time.Duration{"a": -25 * time.Second}, levelWarning, "25 s off"},
		"wrong":               {map[string]time.Duration{"a": 3 * time.Hour}, levelProblem, "3 h off a broker's"},
		"wrong for all":       {map[string]time.Duration{"a": 3 * time.Hour, "b": 3 * time.Hour}, levelProblem, "3 h off a broker's"},
		"a broker's is wrong": {map[string]time.Duration{"a": time.Second, "b": 3 * time.Hour}, levelProblem, "the clock of the broker b is 3 h off"},
	} {
		e := &examination{}
		e.clock(c.skews)
		if got := e.findings[0]; got.Level != c.level || !strings.Contains(got.Message, c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	e := &examination{}
	if e.clock(nil); len(e.findings) != 0 {
		t.Errorf("nobody told the time: %+v", e.findings)
	}
}
