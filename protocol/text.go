package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const noFiles = "a message is text; a file goes as it is: claudemesh send bob --file PATH"

// CheckText refuses what cannot be a message: a text that is too long, that is not UTF-8, or that holds a NUL, as binary files do.
// What it lets pass arrives as it was written.
func CheckText(s string) error {
	if len(s) > MaxBody {
		return TextTooLarge(int64(len(s)))
	}
	if i := badUTF8(s); i >= 0 {
		return Refuse(CodeInvalid, "the message is not UTF-8: byte %d is 0x%02x", i, s[i]).WithHint(noFiles)
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return Refuse(CodeInvalid, "the message is not text: byte %d is NUL", i).WithHint(noFiles)
	}
	return nil
}

// TextTooLarge refuses a text of size bytes.
func TextTooLarge(size int64) *Error {
	return Refuse(CodePayloadTooLarge, "message of %d bytes, at most %d are possible", size, MaxBody).WithHint("send a file path, or split it")
}

// CheckJSON refuses a document that a JSON decoder would change silently: it writes U+FFFD for bytes that are not UTF-8, and for
// halves of surrogate pairs.
func CheckJSON(b []byte) error {
	if i := badUTF8(string(b)); i >= 0 {
		return fmt.Errorf("byte %d is 0x%02x, which is not UTF-8", i, b[i])
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		r := escaped(b[i:])
		switch {
		case !utf16.IsSurrogate(r):
			i++ // of \uXXXX the digits hold no backslash
		case utf16.DecodeRune(r, escaped(b[i+6:])) != utf8.RuneError:
			i += 11
		default:
			return fmt.Errorf("%s at byte %d is half a character", b[i:i+6], i)
		}
	}
	return nil
}

// escaped is the code unit of the \uXXXX that b begins with; 0 if it begins with anything else.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

// badUTF8 is where s stops to be UTF-8, or -1.
func badUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}
