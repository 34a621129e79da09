package claude

import "strings"

// piece is text that we put into a file: a member or an item with the comma and the space around it, or another value.
type piece struct {
	Path  []string `json:"path"`            // of the member, or of the list that has the item
	Item  bool     `json:"item,omitempty"`  // it is an item
	Value bool     `json:"value,omitempty"` // it is only the member's value
	Lead  int      `json:"lead,omitempty"`  // bytes of Text before the element
	Tail  int      `json:"tail,omitempty"`  // bytes of Text behind it
	Text  string   `json:"text"`
	Was   string   `json:"was,omitempty"` // what stood in its place
}

// undo takes out the pieces that are still as they were put in, the last one first, and puts back what stood in their place.
func (d *document) undo(pieces []piece) {
	for i := len(pieces) - 1; i >= 0; i-- {
		if at, ok := d.locate(pieces[i]); ok {
			d.replace(at, []byte(pieces[i].Was))
		}
	}
}

// locate finds a piece whose every byte is in its place. One that was put in without a comma must still be alone.
func (d *document) locate(p piece) (value, bool) {
	elements, beside := d.elements(p)
	if beside > 0 && !p.Value && !strings.HasPrefix(p.Text, ",") {
		return value{}, false
	}
	for _, e := range elements {
		at := value{e.start - p.Lead, e.end + p.Tail}
		if at.start >= 0 && at.end <= len(d.text) && string(d.text[at.start:at.end]) == p.Text {
			return at, true
		}
	}
	return value{}, false
}

// elements are the places where a piece could be, and how many others are beside it.
func (d *document) elements(p piece) (places []value, beside int) {
	if p.Value || p.Item {
		v, ok := d.find(p.Path)
		switch {
		case ok && p.Value:
			return []value{v}, 0
		case ok && d.text[v.start] == '[':
			places = items(d.text, v)
			return places, len(places) - 1
		}
		return nil, 0
	}
	if _, spans, i := d.memberAt(p.Path); i >= 0 {
		return spans[i : i+1], len(spans) - 1
	}
	return nil, 0
}

// taken makes pieces of members that somebody else put into the file for us, and takes them out: the innermost comes first.
func (d *document) taken(paths ...[]string) []piece {
	var pieces []piece
	for _, path := range paths {
		obj, spans, i := d.memberAt(path)
		if i < 0 {
			continue
		}
		span := spanOf(obj, spans, i)
		p := piece{Path: path, Text: string(d.text[span.start:span.end]), Lead: spans[i].start - span.start, Tail: span.end - spans[i].end}
		pieces = append([]piece{p}, pieces...)
		d.replace(span, nil)
	}
	return pieces
}
