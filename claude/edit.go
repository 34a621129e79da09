package claude

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errNotJSON wraps a parse error: the file is left alone.
var errNotJSON = errors.New("not valid JSON")

// A document is JSON text that is edited in place: every byte that an edit does not concern stays. What is put in is noted.
type document struct {
	text   []byte
	pieces []piece
}

// parseDocument checks that b is one JSON object. Empty text is an empty object.
func parseDocument(b []byte) (*document, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return &document{text: []byte("{}\n")}, nil
	}
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(b, &probe); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotJSON, err)
	}
	return &document{text: bytes.Clone(b)}, nil
}

// value is where a value stands in the text.
type value struct{ start, end int }

// member is a member of an object: from the first byte of its key to the last of its value.
type member struct {
	key string
	value
	keyStart int
}

// get decodes the value at path; false if there is none.
func (d *document) get(path []string, into any) bool {
	v, ok := d.find(path)
	return ok && json.Unmarshal(d.text[v.start:v.end], into) == nil
}

func (d *document) find(path []string) (value, bool) {
	at := value{skipSpace(d.text, 0), len(d.text)}
	at.end = skipValue(d.text, at.start)
	for _, key := range path {
		if d.text[at.start] != '{' {
			return value{}, false
		}
		found := false
		for _, m := range members(d.text, at) {
			if m.key == key { // the last one wins, as in every JSON reader in use here
				at, found = m.value, true
			}
		}
		if !found {
			return value{}, false
		}
	}
	return at, true
}

// set makes path hold the given value, adding the objects on the way. It does nothing if an equal value is there.
func (d *document) set(path []string, v any) error {
	parent := path[:len(path)-1]
	for i := range parent {
		if _, ok := d.find(parent[:i+1]); !ok {
			if err := d.insertMember(parent[:i], parent[i], map[string]any{}); err != nil {
				return err
			}
		}
	}
	if have, ok := d.find(path); ok {
		if sameJSON(d.text[have.start:have.end], v) {
			return nil
		}
		text := d.render(v, len(path))
		d.pieces = append(d.pieces, piece{Path: path, Value: true, Text: string(text), Was: string(d.text[have.start:have.end])})
		d.replace(have, text)
		return nil
	}
	return d.insertMember(parent, path[len(path)-1], v)
}

// insertMember adds a member at the end of the object at path.
func (d *document) insertMember(path []string, key string, v any) error {
	obj, ok := d.find(path)
	if !ok || d.text[obj.start] != '{' {
		return fmt.Errorf("%s is not an object", strings.Join(path, "."))
	}
	k, _ := json.Marshal(key)
	sep := ": "
	unit, newline := d.indent()
	if unit == "" && !bytes.Contains(d.text, []byte(`": `)) && len(d.text) > 4 {
		sep = ":"
	}
	text := append(append(k, sep...), d.render(v, len(path)+1)...)
	p := d.insertLast(obj, len(members(d.text, obj)) == 0, text, strings.Repeat(unit, len(path)), unit, newline)
	p.Path = append(slices.Clone(path), key)
	d.pieces = append(d.pieces, p)
	return nil
}

// appendItem adds an item at the end of the array at path, which it makes if it is not there.
func (d *document) appendItem(path []string, v any) error {
	if _, ok := d.find(path); !ok {
		if err := d.set(path, []any{}); err != nil {
			return err
		}
	}
	arr, _ := d.find(path)
	if d.text[arr.start] != '[' {
		return fmt.Errorf("%s is not a list", strings.Join(path, "."))
	}
	unit, newline := d.indent()
	p := d.insertLast(arr, len(items(d.text, arr)) == 0, d.render(v, len(path)+1), strings.Repeat(unit, len(path)), unit, newline)
	p.Path, p.Item = path, true
	d.pieces = append(d.pieces, p)
	return nil
}

// insertLast puts text before the closing bracket of the container c.
func (d *document) insertLast(c value, empty bool, text []byte, outer, unit, newline string) piece {
	at := c.end - 1 // the closing bracket
	for !empty && isSpace(d.text[at-1]) {
		at--
	}
	var b []byte
	if !empty {
		b = append(b, ',')
	}
	if newline != "" {
		b = append(b, newline+outer+unit...)
	} else if !empty && bytes.Contains(d.text, []byte(`, "`)) {
		b = append(b, ' ')
	}
	p := piece{Lead: len(b)}
	b = append(b, text...)
	end := at
	if empty {
		end = c.end - 1
		at = c.start + 1
		if newline != "" {
			b = append(b, newline+outer...)
			p.Tail = len(newline + outer)
		}
	}
	p.Text, p.Was = string(b), string(d.text[at:end])
	d.replace(value{at, end}, b)
	return p
}

// remove takes the member at path out, with the comma and the space before it. False: it was not there.
func (d *document) remove(path []string) bool {
	obj, spans, i := d.memberAt(path)
	if i < 0 {
		return false
	}
	d.cut(obj, spans, i)
	return true
}

// memberAt finds a member among those of its object: the last of that name, as find does. i is -1 where there is none.
func (d *document) memberAt(path []string) (obj value, spans []value, i int) {
	i = -1
	obj, ok := d.find(path[:len(path)-1])
	if !ok || d.text[obj.start] != '{' {
		return obj, nil, i
	}
	for j, m := range members(d.text, obj) {
		spans = append(spans, value{m.keyStart, m.end})
		if m.key == path[len(path)-1] {
			i = j
		}
	}
	return obj, spans, i
}

// removeItems takes the items of the array at path out for which ours is true, and returns how many.
func (d *document) removeItems(path []string, ours func(item json.RawMessage) bool) int {
	n := 0
	for {
		arr, ok := d.find(path)
		if !ok || d.text[arr.start] != '[' {
			return n
		}
		all := items(d.text, arr)
		found := -1
		for i, it := range all {
			if ours(d.text[it.start:it.end]) {
				found = i
			}
		}
		if found < 0 {
			return n
		}
		d.cut(arr, all, found)
		n++
	}
}

// cut removes element i of a container together with one comma.
func (d *document) cut(c value, all []value, i int) {
	d.replace(spanOf(c, all, i), nil)
}

// spanOf is element i of a container with one comma, or of an only element with the space around it.
func spanOf(c value, all []value, i int) value {
	switch {
	case len(all) == 1:
		return value{c.start + 1, c.end - 1}
	case i > 0:
		return value{all[i-1].end, all[i].end}
	}
	return value{all[0].start, all[1].start}
}

func orEmpty(text []byte) []byte {
	if len(bytes.TrimSpace(text)) == 0 {
		return []byte("{}")
	}
	return text
}

// removeEmpty takes the object or array at path out if nothing is left in it.
func (d *document) removeEmpty(path []string) {
	v, ok := d.find(path)
	if ok && (d.text[v.start] == '{' && len(members(d.text, v)) == 0 || d.text[v.start] == '[' && len(items(d.text, v)) == 0) {
		d.remove(path)
	}
}

func (d *document) replace(v value, text []byte) {
	d.text = append(append(append([]byte{}, d.text[:v.start]...), text...), d.text[v.end:]...)
}

// indent guesses how the document is laid out from its first member: the unit of indentation and the line ending; both empty if it is on one line.
func (d *document) indent() (unit, newline string) {
	start := skipSpace(d.text, 0)
	rest := d.text[start+1:]
	i := bytes.IndexByte(rest, '"')
	if i < 0 {
		return "  ", "\n" // an empty object
	}
	gap := rest[:i]
	nl := bytes.LastIndexByte(gap, '\n')
	if nl < 0 {
		return "", ""
	}
	newline = "\n"
	if nl > 0 && gap[nl-1] == '\r' {
		newline = "\r\n"
	}
	return string(gap[nl+1:]), newline
}

// render writes v as it would stand at the given depth.
func (d *document) render(v any, depth int) []byte {
	unit, newline := d.indent()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if newline != "" {
		enc.SetIndent(strings.Repeat(unit, depth), unit)
	}
	if err := enc.Encode(v); err != nil {
		panic("claude: our own value does not marshal: " + err.Error())
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if newline == "\r\n" {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return text
}

func sameJSON(text []byte, v any) bool {
	want, err := json.Marshal(v)
	return err == nil && sameMeaning(text, want)
}

// sameMeaning compares JSON texts; none is an empty object.
func sameMeaning(text, other []byte) bool {
	var a, b any
	if json.Unmarshal(orEmpty(text), &a) != nil || json.Unmarshal(orEmpty(other), &b) != nil {
		return false
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}
