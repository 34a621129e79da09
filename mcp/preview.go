package mcp

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// The client shows the first line of an arrival, cut to previewWidth columns (2.1.330 and 2.1.332).
const (
	previewWidth = 120
	previewLeast = 40 // columns of text, however long the names are
)

// preview is the beginning of a text on one line of at most room columns.
func preview(s string, room int) string {
	line := ""
	for l := range strings.Lines(s) {
		if line = strings.Join(strings.Fields(l), " "); line != "" {
			break
		}
	}
	left := room - columns(" …")
	for i, r := range line {
		if left -= runeColumns(r); left < 0 {
			return strings.TrimRight(line[:i], " ") + "…"
		}
	}
	return strings.TrimLeft(line+" …", " ")
}

// columns is the width of s on a terminal.
func columns(s string) (n int) {
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
