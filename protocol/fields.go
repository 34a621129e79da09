package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
)

// maxNumber bounds numbers and times: every JSON reader holds integers below it exactly.
const maxNumber = 1 << 53

// fields carries one body over to the fields of its block or back. Each body lists its fields once, in order, in its visit
// method, so that what Sign writes and what Parse accepts cannot come apart. The first fault stays in err and makes what
// follows do nothing.
type fields struct {
	ctx      string
	decoding bool
	all      [][]byte // decoding: what is still to come; encoding: what there is so far
	known    MeshID   // decoding: the mesh that it should be about, or empty
	err      *Error
}

func (f *fields) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = Refuse(CodeBadStatement, "%s statement: %s %s", f.ctx, name, fmt.Sprintf(format, args...))
	}
}

// take returns the next field; only for decoding.
func (f *fields) take() []byte {
	if len(f.all) == 0 {
		panic("protocol: " + f.ctx + " visits more fields than its kind has")
	}
	next := f.all[0]
	f.all = f.all[1:]
	return next
}

func (f *fields) put(b []byte) { f.all = append(f.all, b) }

// bytes is a field of exactly size bytes.
func (f *fields) bytes(name string, p []byte) {
	if !f.decoding {
		f.put(slices.Clone(p))
		return
	}
	b := f.take()
	if len(b) != len(p) {
		f.fail(name, "has %d bytes instead of %d", len(b), len(p))
		return
	}
	copy(p, b)
}

// key is 32 raw bytes. No key is all zero: in Go that stands for an absent one.
func (f *fields) key(name string, p *crypto.PublicKey) {
	f.bytes(name, p[:])
	if f.err == nil && p.IsZero() {
		f.fail(name, "is missing")
	}
}

// keyOrAbsent is a key, or a field of length 0 for the zero key.
func (f *fields) keyOrAbsent(name string, p *crypto.PublicKey) {
	switch {
	case f.decoding && len(f.all) > 0 && len(f.all[0]) == 0:
		f.take()
	case !f.decoding && p.IsZero():
		f.put(nil)
	default:
		f.key(name, p)
	}
}

// usable asks of member, session and API keys that they convert to x25519: nobody could seal to them otherwise. It is as
// dear as a signature and so comes after the other rules of its field.
func (f *fields) usable(name string, p *crypto.PublicKey) {
	if f.err == nil && !p.IsZero() && !p.Valid() {
		f.fail(name, "is not a usable key")
	}
}

func (f *fields) uint(name string, p *uint64) {
	if !f.decoding {
		f.put(binary.BigEndian.AppendUint64(nil, *p))
	} else {
		var b [8]byte
		f.bytes(name, b[:])
		*p = binary.BigEndian.Uint64(b[:])
	}
	if *p >= maxNumber {
		f.fail(name, "is not a number below 2^53")
	}
}

// seconds is a uint field that holds a Unix time until the end of the year 9999.
func (f *fields) seconds(name string, p *int64) { f.time(name, p, MaxSeconds) }

// millis is seconds for a time in milliseconds.
func (f *fields) millis(name string, p *int64) { f.time(name, p, MaxMillis) }

func (f *fields) time(name string, p *int64, last uint64) {
	n := uint64(*p)
	f.uint(name, &n)
	if n > last {
		f.fail(name, "is not a time before the year 10000")
	}
	if f.err == nil {
		*p = int64(n)
	}
}

func (f *fields) text(name string, p *string, r rule) {
	if !f.decoding {
		f.put([]byte(*p))
	} else {
		*p = string(f.take())
	}
	if !r.ok(*p) {
		f.fail(name, "%s is not %s", quoted(*p), r.words)
	}
}

// json is one JSON value, kept as it was written.
func (f *fields) json(name string, p *[]byte) {
	if f.decoding {
		*p = slices.Clone(f.take())
	} else {
		f.put(slices.Clone(*p))
	}
	if !json.Valid(*p) {
		f.fail(name, "are not JSON")
	}
}

func (f *fields) mesh(p *MeshID) {
	s := string(*p)
	f.text("mesh", &s, ruleMesh)
	*p = MeshID(s)
	if *p == f.known {
		*p = f.known // one copy for all statements of a mesh
	}
}

// texts is a list of texts. Encoding sorts it and drops repeats.
func (f *fields) texts(name string, p *[]string, r rule) {
	items := make([][]byte, len(*p))
	for i, s := range *p {
		items[i] = []byte(s)
	}
	items = f.list(name, items)
	if len(items) > MaxListed {
		f.fail(name, "has %d items, at most %d are possible", len(items), MaxListed)
		return
	}
	texts := make([]string, len(items))
	for i, item := range items {
		if texts[i] = string(item); !r.ok(texts[i]) {
			f.fail(name, "%s is not %s", quoted(texts[i]), r.words)
			return
		}
	}
	if f.decoding && len(texts) > 0 {
		*p = texts
	}
}

// ids is a list of statement ids. Encoding sorts it and drops repeats.
func (f *fields) ids(name string, p *[]ID) {
	items := make([][]byte, len(*p))
	for i := range *p {
		items[i] = (*p)[i][:]
	}
	items = f.list(name, items)
	ids := make([]ID, len(items))
	for i, item := range items {
		if len(item) != len(ids[i]) {
			f.fail(name, "holds an id of %d bytes", len(item))
			return
		}
		ids[i] = ID(item)
	}
	if f.decoding && len(ids) > 0 {
		*p = ids
	}
}

// list is (u32be len ‖ item)…, strictly ascending by bytes, so that one set has one encoding.
func (f *fields) list(name string, items [][]byte) [][]byte {
	if !f.decoding {
		f.put(encodeList(items))
		return items
	}
	items = nil
	for b := f.take(); len(b) > 0; {
		item, rest, ok := cutItem(b)
		if !ok {
			f.fail(name, "is cut off")
			return nil
		}
		if n := len(items); n > 0 && bytes.Compare(items[n-1], item) >= 0 {
			f.fail(name, "is not in order")
			return nil
		}
		items, b = append(items, item), rest
	}
	return items
}

// encodeList encodes the set of items.
func encodeList(items [][]byte) []byte {
	sorted := slices.SortedFunc(slices.Values(items), bytes.Compare)
	var list []byte
	for _, item := range slices.CompactFunc(sorted, bytes.Equal) {
		list = appendItem(list, item)
	}
	return list
}

// quoted shows a refused text without letting it act on the reader's terminal or fill his screen.
func quoted(s string) string {
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "…"
	}
	return fmt.Sprintf("%+q", s)
}
