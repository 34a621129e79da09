package client

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/claudemesh/claudemesh/protocol"
)

// What one event of a stream is worth: the ids are those of its events, and * marks one that cannot be read.
func readAll(t *testing.T, r io.Reader) (got []string, err error) {
	t.Helper()
	err = readEvents(r, func(e protocol.Event, err error) bool {
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d:%s", e.Seq, e.Notice)
		if e.Type == Unreadable {
			text = fmt.Sprintf("%d*", e.Seq)
		}
		got = append(got, text)
		return true
	})
	return got, err
}

func sse(seq int, notice string) string {
	return fmt.Sprintf("id: %d\nevent: notice\ndata: {\"seq\":%d,\"type\":\"notice\",\"notice\":%q}\n\n", seq, seq, notice)
}

// One event that cannot be read ends no stream: the reader hears of it, and of all behind it.
func TestStreamsGoOnBehindABadEvent(t *testing.T) {
	long := strings.Repeat("x", maxEvent)
	for name, bad := range map[string]string{
		"not JSON":                  "id: 2\ndata: {damaged\n\n",
		"another type":              "id: 2\ndata: {\"seq\":\"two\"}\n\n",
		"a number out of range":     "id: 2\ndata: {\"seq\":1e400}\n\n",
		"a negative number":         "id: 2\ndata: {\"seq\":-1}\n\n",
		"a time beyond the years":   "id: 2\ndata: {\"seq\":2,\"at\":\"+10000-01-01T00:00:00Z\"}\n\n",
		"empty":                     "id: 2\ndata:\n\n",
		"a list":                    "id: 2\ndata: []\n\n",
		"a line beyond all bounds":  "id: 2\ndata: " + long + "\n\n",
		"lines beyond all bounds":   "id: 2\n" + strings.Repeat("data: "+long[:maxEvent/4]+"\n", 5) + "\n",
		"not UTF-8":                 "id: 2\ndata: \xff\xfe\n\n",
		"nested without end":        "id: 2\ndata: " + strings.Repeat("[", 20000) + "\n\n",
		"an id that is none before": "id: x\nid: 2\ndata: {\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			in := sse(1, "before") + bad + sse(3, "behind")
			got, err := readAll(t, strings.NewReader(in))
			if want := "1:before 2* 3:behind"; strings.Join(got, " ") != want || err != io.ErrUnexpectedEOF {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// What is no event is skipped: comments, fields of another version, a BOM, other ends of lines.
func TestStreamsSkipWhatIsNoEvent(t *testing.T) {
	for name, in := range map[string]string{
		"a comment":             ": alive\n\n" + sse(1, "a"),
		"a BOM":                 "\xef\xbb\xbf" + sse(1, "a"),
		"carriage returns":      strings.ReplaceAll(sse(1, "a"), "\n", "\r\n"),
		"a retry":               "retry: 99999999999999999999\n\n" + sse(1, "a"),
		"unknown fields":        "x: y\nz\n" + sse(1, "a"),
		"an event without data": "id: 7\nevent: notice\n\n" + sse(1, "a"),
		"a comment of a MiB":    ":" + strings.Repeat("x", 1<<20) + "\n" + sse(1, "a"),
		"several data lines":    "data: {\"seq\":1,\ndata: \"notice\":\"a\"}\n\n",
		"no blank before data":  "data:{\"seq\":1,\"notice\":\"a\"}\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := readAll(t, iotest.OneByteReader(strings.NewReader(in)))
			if strings.Join(got, " ") != "1:a" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// What is cut off is no event: it comes again with the next stream.
func TestStreamsThatAreCutOff(t *testing.T) {
	whole := []byte(sse(1, "a") + sse(2, "b"))
	for n := range whole {
		got, err := readAll(t, bytes.NewReader(whole[:n]))
		if want := min(len(got), 1); err != io.ErrUnexpectedEOF || len(got) != want {
			t.Fatalf("of %d bytes: %q, %v", n, got, err)
		}
	}
	broken := io.MultiReader(strings.NewReader(sse(1, "a")), iotest.ErrReader(io.ErrClosedPipe))
	if got, err := readAll(t, broken); err != io.ErrClosedPipe || len(got) != 1 {
		t.Errorf("got %q, %v", got, err)
	}
}
