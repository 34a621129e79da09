package cli

import (
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// clean makes text that came from others harmless on one line of a terminal.
func clean(s string) string {
	return strings.Join(strings.FieldsFunc(protocol.Neutralize(s), func(r rune) bool { return strings.ContainsRune("\r\n\t\u2028\u2029", r) }), " ")
}

// cleanText does the same for text of several lines.
func cleanText(s string) string { return protocol.Neutralize(s) }
