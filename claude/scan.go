package claude

import (
	"encoding/json"
	"strings"
)

// The scanner below walks text that encoding/json has accepted, so it need not report errors.

func members(text []byte, obj value) []member {
	var all []member
	for i := skipSpace(text, obj.start+1); text[i] != '}'; {
		keyStart := i
		i = skipValue(text, i)
		var key string
		json.Unmarshal(text[keyStart:i], &key)
		i = skipSpace(text, i)   // the colon
		i = skipSpace(text, i+1) // the value
		end := skipValue(text, i)
		all = append(all, member{key, value{i, end}, keyStart})
		i = skipSpace(text, end)
		if text[i] == ',' {
			i = skipSpace(text, i+1)
		}
	}
	return all
}

func items(text []byte, arr value) []value {
	var all []value
	for i := skipSpace(text, arr.start+1); text[i] != ']'; {
		end := skipValue(text, i)
		all = append(all, value{i, end})
		i = skipSpace(text, end)
		if text[i] == ',' {
			i = skipSpace(text, i+1)
		}
	}
	return all
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// skipValue returns the index behind the value that starts at i.
func skipValue(text []byte, i int) int {
	switch text[i] {
	case '"':
		for i++; text[i] != '"'; i++ {
			if text[i] == '\\' {
				i++
			}
		}
		return i + 1
	case '{', '[':
		depth := 0
		for ; ; i++ {
			switch text[i] {
			case '"':
				i = skipValue(text, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(text) && !isSpace(text[i]) && !strings.ContainsRune(",]}", rune(text[i])) {
		i++
	}
	return i
}
