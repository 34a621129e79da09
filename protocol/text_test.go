package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckText(t *testing.T) {
	for _, ok := range []string{"", "hello", strings.Repeat("x", MaxBody), "\x1b[31m\r\n\u202e�👩‍👩‍👧", "if (a < b && c > d) { List<String> x; }"} {
		if err := CheckText(ok); err != nil {
			t.Errorf("%.40q: %v", ok, err)
		}
	}
	for in, c := range map[string]struct {
		code Code
		says string
	}{
		strings.Repeat("x", MaxBody+1):      {CodePayloadTooLarge, "65537 bytes, at most 65536"},
		strings.Repeat("\xff", 30<<20):      {CodePayloadTooLarge, "31457280 bytes"},
		"ab\xffcd":                          {CodeInvalid, "byte 2 is 0xff"},
		"\x7fELF\x02\x01\x01\x00":           {CodeInvalid, "byte 7 is NUL"},
		"\xff\xfeh\x00i\x00":                {CodeInvalid, "byte 0 is 0xff"}, // UTF-16 with a byte order mark
		"h\x00i\x00":                        {CodeInvalid, "byte 1 is NUL"},
		"half of a character: \xf0\x9f\x91": {CodeInvalid, "byte 21 is 0xf0"},
		"a surrogate: \xed\xa0\x80":         {CodeInvalid, "byte 13 is 0xed"},
	} {
		e, ok := CheckText(in).(*Error)
		if !ok || e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Hint == "" {
			t.Errorf("%.20q: %v, want %s: %s", in, e, c.code, c.says)
		}
	}
}

// Whatever CheckJSON lets pass reaches the reader as it was written.
func TestCheckJSON(t *testing.T) {
	for in, ok := range map[string]bool{
		`{"a":"b"}`: true, `"\\ud800"`: true, `"\ud83d\udc69"`: true, `"\u00e4\\\"\ud83d\udc69"`: true, `"\\\\ud800\n"`: true,
		`"\ud800"`: false, `"\udc69\ud83d"`: false, `"\ud83dx"`: false, `"\ud83d\n"`: false, `"\ud83d\ud83d\udc69"`: false, `"\\\ud800"`: false, `"\uD83D`: false,
		"\"\xff\"": false, "\"\xed\xa0\x80\"": false, "\"\ufffd\"": true, `"\`: true, `"\u12`: true,
	} {
		if err := CheckJSON([]byte(in)); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`"\ud83d\udc69"`, `"\ud800\\u"`, "\"\xff\"", `"\\\ud800"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if json.Unmarshal([]byte(s), &got) != nil {
			return
		}
		changed := strings.Count(got, "\ufffd") > strings.Count(s, "\ufffd")+strings.Count(strings.ToLower(s), `\ufffd`)
		if err := CheckJSON([]byte(s)); (err != nil) != (changed || !utf8.ValidString(s)) {
			t.Fatalf("%q is read as %q: %v", s, got, err)
		}
	})
}
