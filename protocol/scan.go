package protocol

// class is a set of bytes, as a bit in byteClasses.
type class uint8

const (
	hexClass    class = 1 << iota // 0-9 a-f
	base64Class                   // of standard base64 without =
	idClass                       // 0-9 A-Z a-z _ - . :
	wordClass                     // 0-9 a-z _
	targetClass                   // printable ASCII without space, " \ < > &
	nameClass                     // printable ASCII without " \
	plainClass                    // what a JSON text holds without escape, in ASCII: nameClass without < > &
)

var byteClasses = func() (t [256]class) {
	for i := range t {
		c := byte(i)
		upper := c >= 'A' && c <= 'Z'
		for _, m := range [...]struct {
			class class
			has   bool
		}{
			{hexClass, isHexByte(c)},
			{base64Class, lowerOrDigit(c) || upper || c == '+' || c == '/'},
			{idClass, isIDByte(c) || c == '.' || c == ':'},
			{wordClass, lowerOrDigit(c) || c == '_'},
			{nameClass, printable(c) && c != '"' && c != '\\'},
			{plainClass, printable(c) && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'},
			{targetClass, printable(c) && c != ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'},
		} {
			if m.has {
				t[i] |= m.class
			}
		}
	}
	return t
}()

const maxNesting = 32 // of values that are read over

// scanner reads JSON (RFC 8259) from b at i. Its methods report false where b goes another way; i is then anywhere.
type scanner struct {
	b []byte
	i int
}

// peek returns the next byte that is not white space, or 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// is takes c if it is the next byte that is not white space.
func (s *scanner) is(c byte) bool {
	if s.peek() != c || s.i >= len(s.b) {
		return false
	}
	s.i++
	return true
}

// text takes a string of bytes of one class, in base64Class with its padding, and returns what is between the quotes.
func (s *scanner) text(c class) ([]byte, bool) {
	if !s.is('"') {
		return nil, false
	}
	start := s.i
	for rest := s.b[s.i:]; len(rest) >= 8; rest = rest[8:] { // most of a frame is one long text
		t := &byteClasses
		if t[rest[0]]&t[rest[1]]&t[rest[2]]&t[rest[3]]&t[rest[4]]&t[rest[5]]&t[rest[6]]&t[rest[7]]&c == 0 {
			break
		}
		s.i += 8
	}
	for s.i < len(s.b) && byteClasses[s.b[s.i]]&c != 0 {
		s.i++
	}
	if c == base64Class {
		for pad := 0; pad < 2 && s.i < len(s.b) && s.b[s.i] == '='; pad++ {
			s.i++
		}
		if (s.i-start)%4 != 0 {
			return nil, false
		}
	}
	end := s.i
	if end >= len(s.b) || s.b[end] != '"' {
		return nil, false
	}
	s.i++
	return s.b[start:end:end], true
}

// skip takes any value.
func (s *scanner) skip(nesting int) bool {
	switch c := s.peek(); {
	case c == '{' || c == '[':
		return nesting < maxNesting && s.skipNested(c, nesting+1)
	case c == '"':
		return s.skipString()
	case c == '-' || digit(c):
		return s.skipNumber()
	default:
		return s.word("true") || s.word("false") || s.word("null")
	}
}

func (s *scanner) skipNested(open byte, nesting int) bool {
	shut := open + 2 // ASCII has } two behind { and ] two behind [
	s.i++
	if s.is(shut) {
		return true
	}
	for {
		if open == '{' && (s.peek() != '"' || !s.skipString() || !s.is(':')) {
			return false
		}
		if !s.skip(nesting) {
			return false
		}
		if s.is(shut) {
			return true
		}
		if !s.is(',') {
			return false
		}
	}
}

func (s *scanner) skipString() bool {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return true
		case c < ' ':
			return false
		case c == '\\':
			if s.i++; !s.escape() {
				return false
			}
		}
	}
	return false
}

// escape leaves i on the last byte of the escape whose backslash was taken.
func (s *scanner) escape() bool {
	if s.i >= len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			s.i++
			if s.i >= len(s.b) || !isHexByte(s.b[s.i]|0x20) || s.b[s.i] < '0' {
				return false
			}
		}
		return true
	}
	return false
}

func (s *scanner) skipNumber() bool {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		if s.i++; !s.digits() {
			return false
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		if s.i++; s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && digit(s.b[s.i]) {
		s.i++
	}
	return s.i > start
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}
