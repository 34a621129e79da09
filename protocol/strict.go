package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxInteger is the largest integer that every JSON reader represents exactly.
const maxInteger = 1<<53 - 1

// readObject reads b as exactly one JSON object and calls field for each of its members. Unlike encoding/json it takes
// names by their exact bytes, and refuses a name twice at any depth, invalid UTF-8 and anything after the object.
// field reads one value from dec. The names seen are returned.
func readObject(b []byte, field func(name string, dec *json.Decoder) error) (map[string]bool, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("is not UTF-8")
	}
	if !json.Valid(b) {
		return nil, errors.New("is not one JSON value")
	}
	if err := uniqueNames(json.NewDecoder(bytes.NewReader(b))); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("is not a JSON object")
	}
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name := t.(string) // a valid object has nothing else here
		seen[name] = true
		if err := field(name, dec); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
	}
	return seen, nil
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
			name := t.(string)
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

// readString reads a string that is not empty: what is absent has no name either.
func readString(dec *json.Decoder) (string, error) {
	t, err := dec.Token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok || s == "" {
		return "", errors.New("is not a text")
	}
	return s, nil
}

// readInteger reads an integer from 1 to 2⁵³−1 written as digits alone.
func readInteger(dec *json.Decoder) (uint64, error) {
	t, err := dec.Token()
	if err != nil {
		return 0, err
	}
	n, ok := t.(json.Number)
	if !ok {
		return 0, errors.New("is not a number")
	}
	v, err := strconv.ParseUint(n.String(), 10, 64)
	if err != nil || v == 0 || v > maxInteger {
		return 0, errors.New("is not an integer from 1 to 2⁵³−1")
	}
	return v, nil
}

// skipValue reads a value that a later version may have added.
func skipValue(dec *json.Decoder) error {
	var skipped json.RawMessage
	return dec.Decode(&skipped)
}
