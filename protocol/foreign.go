package protocol

import "strings"

// maxForeignText is how much of a sentence of a broker's is kept: it may end up in a row of an outbox.
const maxForeignText = 500

// Refused makes an *Error of what a broker says: the code if it is one, the text cut and made fit to be
// shown, the wait bounded. An unknown code counts as internal, which is retried.
func Refused(code Code, text string, retryable bool, retryAfterMS int64) *Error {
	if !ValidFeature(string(code)) {
		code = CodeInternal
	}
	return &Error{
		Code: code, Message: ForeignText(text), Retryable: retryable, After: Millis(retryAfterMS, MaxRetryAfter),
	}
}

// ForeignText is Neutralize for a sentence of a broker's, cut to 500 bytes.
func ForeignText(s string) string { return Neutralize(Cut(s, maxForeignText)) }

// Cut returns at most n bytes of s, and no half character.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
