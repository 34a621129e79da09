package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// object is a JSON object that keeps the order, the spelling and the bytes of what nobody sets.
type object []field

type field struct {
	name string
	key  []byte // as it stood in the file, quotes included
	raw  json.RawMessage
}

var errNotObject = errors.New("not a JSON object")

// parseObject reads exactly one object. It checks the syntax of everything in it.
func parseObject(b []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errNotObject, ignoreEOF(err))
	}
	o := object{}
	for dec.More() {
		start := dec.InputOffset()
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, errNotObject
		}
		f := field{name: name, key: bytes.TrimLeft(b[start:dec.InputOffset()], " \t\r\n,")}
		if err := dec.Decode(&f.raw); err != nil {
			return nil, err
		}
		o = append(o, f)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return o, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// get decodes the field into v and reports whether it is there. Of two of one name the last counts, as everywhere.
func (o object) get(name string, v any) (bool, error) {
	for i := len(o) - 1; i >= 0; i-- {
		if o[i].name == name {
			return true, json.Unmarshal(o[i].raw, v)
		}
	}
	return false, nil
}

func (o object) has(name string) bool {
	for _, f := range o {
		if f.name == name {
			return true
		}
	}
	return false
}

// set writes the field in its place, or at the end.
func (o *object) set(name string, raw json.RawMessage) {
	for i := len(*o) - 1; i >= 0; i-- {
		if (*o)[i].name == name {
			(*o)[i].raw = raw
			return
		}
	}
	*o = append(*o, field{name: name, key: mustJSON(name), raw: raw})
}

func (o *object) remove(name string) {
	kept := object{}
	for _, f := range *o {
		if f.name != name {
			kept = append(kept, f)
		}
	}
	*o = kept
}

// setString sets a string field; empty removes it.
func (o *object) setString(name, value string) {
	if value == "" {
		o.remove(name)
		return
	}
	o.set(name, mustJSON(value))
}

// encode lays the object out with two blanks a level, its own fields behind indent.
func (o object) encode(indent string) []byte {
	if len(o) == 0 {
		return []byte("{}")
	}
	out := []byte("{")
	for i, f := range o {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '\n')
		out = append(out, indent+"  "...)
		out = append(out, f.key...)
		out = append(out, ": "...)
		out = append(out, f.raw...)
	}
	out = append(out, '\n')
	out = append(out, indent...)
	return append(out, '}')
}

// encodeList lays out a list whose items are encoded for indent plus two.
func encodeList(items []json.RawMessage, indent string) []byte {
	if len(items) == 0 {
		return []byte("[]")
	}
	out := []byte("[")
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '\n')
		out = append(out, indent+"  "...)
		out = append(out, item...)
	}
	out = append(out, '\n')
	out = append(out, indent...)
	return append(out, ']')
}

// mustJSON encodes what cannot fail: strings, numbers, booleans.
func mustJSON(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("config: encode a plain value: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
