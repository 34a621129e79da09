package protocol

import (
	"strings"
	"testing"
)

const someFileKey = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ"

func fileHeader(t *testing.T) *Header {
	alice, bob := seeded(2), seeded(3)
	return &Header{
		ID: "0123456789abcdef", Mesh: testMesh, From: alice.Public(), Member: alice.Public(), To: bob.Public().String(),
		Prio: PriorityNext, TS: 1700000000000, Ep: "0123456789abcdef", Seq: 1,
		Files: []FileRef{
			{Name: "report <3>\u202etxt.pdf", Size: 7, SHA256: [32]byte{1}, Blob: BlobID{2}, Key: someFileKey},
			{Name: "empty", SHA256: [32]byte{3}, Blob: BlobID{4}, Key: someFileKey},
		},
	}
}

func TestHeaderCarriesFiles(t *testing.T) {
	h := fileHeader(t)
	b, err := EncodeHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeHeader(b)
	if err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if len(got.Files) != 2 || got.Files[0] != h.Files[0] || got.Files[1] != h.Files[1] {
		t.Fatalf("files are %+v", got.Files)
	}
}

// TestHeaderRefusesFiles: what a peer could write by hand and no sender of ours does.
func TestHeaderRefusesFiles(t *testing.T) {
	b, err := EncodeHeader(fileHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, edit := range map[string][2]string{
		"a name of 4 KiB":    {`"name":"empty"`, `"name":"` + strings.Repeat("x", 4096) + `"`},
		"a name in capitals": {`"name":"empty"`, `"Name":"empty"`},
		"a name twice":       {`"name":"empty"`, `"name":"empty","name":"other"`},
		"an unknown field":   {`"name":"empty"`, `"name":"empty","mode":755`},
		"no key":             {`,"key":"` + someFileKey + `"}]`, `}]`},
		"a negative size":    {`"size":7`, `"size":-7`},
		"a size above":       {`"size":7`, `"size":104857601`},
		"a blob of capitals": {`"blob":"0200`, `"blob":"020A`},
		"a short hash":       {`"sha256":"01`, `"sha256":"0`},
		"no files":           {good[strings.Index(good, `"files":`):], `"files":[]}`},
		"a text":             {good[strings.Index(good, `"files":`):], `"files":"x"}`},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if bad == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := DecodeHeader([]byte(bad)); CodeOf(err) != CodeInvalid {
			t.Errorf("%s is taken: %v", name, err)
		}
	}
	h := fileHeader(t)
	for len(h.Files) <= MaxFiles {
		h.Files = append(h.Files, h.Files[0])
	}
	if _, err := EncodeHeader(h); CodeOf(err) != CodeInvalid {
		t.Errorf("17 files are taken: %v", err)
	}
	h = fileHeader(t)
	h.Kind, h.Seq = KindReceipt, 0
	if _, err := EncodeHeader(h); CodeOf(err) != CodeInvalid {
		t.Errorf("a receipt has files: %v", err)
	}
}
