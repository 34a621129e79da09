package cli

import (
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// A message that only time keeps here is accepted; one that a person has to help out fails, with the code of the reason.
func TestWhatKeepsAMessage(t *testing.T) {
	for _, c := range []struct {
		code    protocol.Code
		require protocol.State
		exit    int
		words   string
	}{
		{"", "", exitOK, "accepted, on its way to the broker"},
		{"", protocol.StateAccepted, exitOK, "accepted, on its way to the broker"},
		{protocol.CodeUnavailable, "", exitOK, "accepted, not sent yet: why; it goes out by itself"},
		{protocol.CodeStoreFull, "", exitOK, "accepted, not sent yet: why; it goes out by itself"},
		{protocol.CodeKicked, "", exitOK, "accepted, not sent yet: why; it goes out by itself"},
		{protocol.CodeUnavailable, protocol.StateQueued, exitUnreachable, "not sent yet: why"},
		{protocol.CodeCloned, "", exitRefused, "accepted, and kept here: why"},
		{protocol.CodeCloned, protocol.StateAccepted, exitRefused, "accepted, and kept here: why"},
		{protocol.CodeTimestamp, "", exitRefused, "accepted, and kept here: why"},
		{protocol.CodeNotMember, "", exitUnauthorised, "accepted, and kept here: why"},
		{protocol.CodeNotFound, "", exitNotFound, "accepted, and kept here: why"},
		{protocol.CodeDowngrade, "", exitDenied, "accepted, and kept here: why"},
	} {
		res := protocol.SendResult{ID: "7HqX2a1bXXXXXXXXXXXXXX", State: protocol.StateAccepted}
		if c.code != "" {
			res.Waits = &protocol.ErrorBody{Code: c.code, Message: "why"}
		}
		if got := acceptedWords(res.Waits); !strings.Contains(got, c.words) {
			t.Errorf("%s: %q", c.code, got)
		}
		var err error
		if short := shortOf(res, c.require); short != nil {
			err = short
			if short.Hint == "" {
				t.Errorf("%s: no hint", c.code)
			}
		}
		if got := exitCode(err); got != c.exit {
			t.Errorf("%s, required %q: exit %d, want %d", c.code, c.require, got, c.exit)
		}
	}
}
