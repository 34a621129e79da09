package files

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxName is how many bytes of a name are kept: a number and an ending fit behind it on every file system.
const maxName = 200

// nameless stands for a name of which nothing is left.
const nameless = "file"

// SafeName reduces the name that a peer gives a file to the base name of an ordinary file: no directory, no leading dot or dash,
// nothing that a terminal obeys, that starts a command in a shell, or that changes the direction of writing, no name that Windows keeps for a device.
// The result is never empty, and SafeName of it is the same.
func SafeName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = norm.NFC.String(strings.ToValidUTF8(name, "_"))
	name = strings.Map(safeRune, name)
	name = shorten(trimName(name))
	if name == "" {
		return nameless
	}
	stem, _, _ := strings.Cut(name, ".")
	if reserved[strings.ToLower(strings.TrimSpace(stem))] {
		return "_" + name
	}
	return name
}

// safeRune keeps letters, marks, digits, punctuation and plain spaces, and drops what is not seen.
func safeRune(r rune) rune {
	switch {
	case strings.ContainsRune("<>:\"|?*`$;&%!^", r), r == utf8.RuneError:
		return '_'
	case r == ' ':
		return r
	case unicode.IsSpace(r):
		return ' '
	case !unicode.IsPrint(r), unicode.Is(unicode.Cf, r), invisible(r):
		return -1
	}
	return r
}

// invisible are the signs of category letter or mark that show nothing, which let two names look alike.
func invisible(r rune) bool {
	return r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0' || r == '\u034f' ||
		unicode.Is(unicode.Variation_Selector, r)
}

// trimName takes off what hides a file, passes for a flag, or is not kept by Windows.
func trimName(name string) string {
	return strings.TrimRight(strings.TrimLeft(name, ". -~"), ". ")
}

// shorten cuts the middle: what stands behind the last dot stays.
func shorten(name string) string {
	if len(name) <= maxName {
		return name
	}
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 20 {
		stem, ext = name[:i], name[i:]
	}
	n := maxName - len(ext)
	for !utf8.RuneStart(stem[n]) {
		n--
	}
	return trimName(stem[:n]) + ext
}

// reserved are the base names that Windows takes for devices, whatever stands behind a dot.
var reserved = func() map[string]bool {
	m := map[string]bool{"con": true, "prn": true, "aux": true, "nul": true, "conin$": true, "conout$": true, "clock$": true}
	for _, d := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³"} {
		m["com"+d], m["lpt"+d] = true, true
	}
	return m
}()
