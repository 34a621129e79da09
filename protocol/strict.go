package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxInteger is the largest integer that every JSON reader represents exactly.
const maxInteger = 1<<53 - 1

// readObject reads b as exactly one JSON object and calls field for each of its members. Unlike encoding/json it takes
// names by their exact bytes, and refuses a name twice at any depth, invalid UTF-8, values nested more than maxNesting deep
// and anything after the object. field takes one value from v. The names seen are returned.
func readObject(b []byte, field func(name string, v *valueReader) error) (*nameSet, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("is not UTF-8")
	}
	v := &valueReader{scanner: scanner{b: b}, all: string(b)}
	if !v.is('{') {
		return nil, errors.New("is no JSON object")
	}
	seen := new(nameSet)
	for more := !v.is('}'); more; {
		name, err := v.name()
		if err != nil {
			return nil, err
		}
		if !seen.add(name) {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		if err := field(name, v); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		if more = v.is(','); !more && !v.is('}') {
			return nil, errNotJSON
		}
	}
	if v.peek(); v.i != len(b) {
		return nil, errNotJSON
	}
	return seen, nil
}

var errNotJSON = errors.New("is not one JSON value")

// nameSet holds the names of one object. Few are kept in a list, which costs no map; many in a map, which costs no search.
type nameSet struct {
	list []string
	more map[string]bool
}

// add reports whether name is new.
func (s *nameSet) add(name string) bool {
	switch {
	case s.has(name):
		return false
	case s.list == nil:
		s.list = make([]string, 0, 16)
	case len(s.list) == cap(s.list):
		if s.more == nil {
			s.more = make(map[string]bool)
		}
		s.more[name] = true
		return true
	}
	s.list = append(s.list, name)
	return true
}

func (s *nameSet) has(name string) bool { return slices.Contains(s.list, name) || s.more[name] }

// valueReader reads the values of one object. Its texts share one string.
type valueReader struct {
	scanner
	all string // what b holds
}

// name takes a member's name and the colon.
func (v *valueReader) name() (string, error) {
	if v.peek() != '"' {
		return "", errNotJSON
	}
	name, err := v.quoted()
	if err == nil && !v.is(':') {
		err = errNotJSON
	}
	return name, err
}

// text takes a string that is not empty: what is absent has no name either.
func (v *valueReader) text() (string, error) {
	if v.peek() != '"' {
		return "", errors.New("is not a text")
	}
	s, err := v.quoted()
	if err == nil && s == "" {
		err = errors.New("is not a text")
	}
	return s, err
}

// quoted takes the string that begins at i.
func (v *valueReader) quoted() (string, error) {
	start := v.i
	if !v.skipString() {
		return "", errNotJSON
	}
	if plain := v.all[start+1 : v.i-1]; strings.IndexByte(plain, '\\') < 0 {
		return plain, nil
	}
	var unescaped string
	if err := json.Unmarshal(v.b[start:v.i], &unescaped); err != nil {
		return "", errNotJSON
	}
	return unescaped, nil
}

// integer takes an integer from 1 to 2⁵³−1 written as digits alone.
func (v *valueReader) integer() (uint64, error) {
	if c := v.peek(); c != '-' && !digit(c) {
		return 0, errors.New("is not a number")
	}
	start := v.i
	if !v.skipNumber() {
		return 0, errNotJSON
	}
	n, err := strconv.ParseUint(v.all[start:v.i], 10, 64)
	if err != nil || n == 0 || n > maxInteger {
		return 0, errors.New("is not an integer from 1 to 2⁵³−1")
	}
	return n, nil
}

// value takes any value and returns its bytes, which alias the object's.
func (v *valueReader) value() ([]byte, error) {
	first, start := v.peek(), v.i
	if !v.scanner.skip(0) {
		return nil, errNotJSON
	}
	raw := v.b[start:v.i:v.i]
	if first == '{' || first == '[' {
		if err := uniqueNames(json.NewDecoder(bytes.NewReader(raw))); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// skip takes a value that a later version may have added.
func (v *valueReader) skip() error {
	_, err := v.value()
	return err
}

// uniqueNames reads one valid JSON value from dec and refuses objects that name a member twice.
func uniqueNames(dec *json.Decoder) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := make(map[string]bool)
	for dec.More() {
		if open == '{' {
			t, err := dec.Token()
			if err != nil {
				return err
			}
			name := t.(string) // a valid object has nothing else here
			if seen[name] {
				return fmt.Errorf("%q is there twice", name)
			}
			seen[name] = true
		}
		if err := uniqueNames(dec); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}
