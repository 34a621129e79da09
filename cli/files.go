package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
)

func fileFlag() urfave.Flag {
	return &urfave.StringSliceFlag{Name: "file", Usage: "send the file `PATH` along (repeat for more, at most 16)"}
}

// letter is what a verb sends: a text, files, or both.
type letter struct {
	body  string
	paths []string
	stdin io.Reader // what was too long for a message and becomes a file; nil: nothing
	name  string    // of that file
}

// letter reads what begins at argument i, and the files.
func (c *call) letter(i int) (l letter, err error) {
	l.paths = c.flags.StringSlice("file")
	if len(l.paths) > protocol.MaxFiles {
		return l, protocol.Refuse(protocol.CodeInvalid, "%d files, at most %d go with one message", len(l.paths), protocol.MaxFiles)
	}
	if len(l.paths) > 0 && len(c.args) <= i {
		return l, nil
	}
	if c.rest(i) != "-" {
		l.body, err = c.message(i)
		return l, err
	}
	head, err := io.ReadAll(io.LimitReader(c.stdin, protocol.MaxBody+2))
	if err != nil {
		return l, fmt.Errorf("read the message from stdin: %w", err)
	}
	if len(head) <= protocol.MaxBody+1 {
		if body := oneLine(string(head)); len(body) <= protocol.MaxBody {
			l.body = body
			return l, checkBody(body)
		}
	}
	l.stdin = io.LimitReader(io.MultiReader(bytes.NewReader(head), c.stdin), protocol.MaxFileSize+1)
	l.name = "stdin.bin"
	if isText(head) {
		l.name = "stdin.txt"
	}
	return l, nil
}

// isText reports whether the beginning of a content is text; its last character may be cut.
func isText(head []byte) bool {
	for i := 0; i < utf8.UTFMax && len(head) > 0 && !utf8.Valid(head); i++ {
		head = head[:len(head)-1]
	}
	return utf8.Valid(head) && bytes.IndexByte(head, 0) < 0
}

// hand gives the files of a letter to the daemon, which has them encrypted on its disk when it returns.
func (c *call) hand(ctx context.Context, cl *client.Client, l letter) (ids []string, err error) {
	for _, path := range l.paths { // all of them are looked at before any is read
		f, err := files.Source(path)
		if err != nil {
			return nil, err
		}
		f.Close()
	}
	for _, path := range l.paths {
		f, err := files.Source(path)
		if err != nil {
			return nil, err
		}
		size := int64(0)
		if info, err := f.Stat(); err == nil {
			size = info.Size()
		}
		id, err := c.stage(ctx, cl, filepath.Base(path), f, size)
		f.Close()
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if l.stdin == nil {
		return ids, nil
	}
	id, err := c.stage(ctx, cl, l.name, l.stdin, 0)
	if err != nil {
		return nil, err
	}
	c.note("stdin has more than %d bytes: it goes as the file %s", protocol.MaxBody, l.name)
	return append(ids, id), nil
}

func (c *call) stage(ctx context.Context, cl *client.Client, name string, content io.Reader, size int64) (string, error) {
	bar := c.progress("encrypting " + files.SafeName(name))
	defer bar.end()
	staged, err := cl.StageFile(ctx, name, &counted{r: content, moved: func(n int64) { bar.show(n, size) }})
	return staged.ID, err
}

// counted tells how much was read.
type counted struct {
	r     io.Reader
	n     int64
	moved func(int64)
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	r.moved(r.n)
	return n, err
}

// progress is a line on a terminal that changes; elsewhere it is nothing.
type progress struct {
	w    io.Writer
	what string
	last time.Time
	any  bool
}

func (c *call) progress(what string) *progress {
	p := &progress{what: clean(what)}
	if isTerminal(c.stderr) && !c.json {
		p.w = c.stderr
	}
	return p
}

// show says how much of a size, 0 for one that is not known, is done.
func (p *progress) show(n, size int64) {
	now := time.Now()
	if p.w == nil || now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.any = now, true
	words := sizeText(n)
	if size > 0 {
		words = fmt.Sprintf("%s of %s (%d %%)", words, sizeText(size), min(100, n*100/size))
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s: %s", p.what, words)
}

func (p *progress) end() {
	if p.any {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// sizeText is a size for people.
func sizeText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// watchUpload shows on a terminal how the files of a message leave, until they have, or something keeps them.
func (c *call) watchUpload(ctx context.Context, cl *client.Client, res protocol.SendResult) protocol.SendResult {
	if len(res.Files) == 0 || !isTerminal(c.stderr) || c.json {
		return res
	}
	bar := c.progress("uploading")
	defer bar.end()
	for res.State == protocol.StateAccepted && res.Waits == nil {
		var done, size int64
		for _, f := range res.Files {
			done, size = done+f.Uploaded, size+f.Size
		}
		bar.show(done, size)
		select {
		case <-ctx.Done():
			return res
		case <-time.After(150 * time.Millisecond):
		}
		now, err := cl.Message(ctx, res.Mesh, res.ID)
		if err != nil {
			return res
		}
		res = now
	}
	return res
}

// fileLines list the files of a message that came.
func fileLines(id string, all []protocol.FileInfo) (lines []string) {
	for _, f := range all {
		lines = append(lines, fmt.Sprintf("file %s, %s", clean(f.Name), sizeText(f.Size)))
	}
	if len(lines) > 0 {
		lines = append(lines, "claudemesh inbox save "+shortID(id)+" saves "+map[bool]string{true: "it", false: "them"}[len(all) == 1])
	}
	return lines
}

// sentFileLines list the files of a message that leaves.
func sentFileLines(res protocol.SendResult) (lines []string) {
	for _, f := range res.Files {
		words := fmt.Sprintf("file %s, %s", clean(f.Name), sizeText(f.Size))
		if res.State == protocol.StateAccepted {
			words += ", of which the broker has " + sizeText(f.Uploaded)
		}
		lines = append(lines, words)
	}
	return lines
}

// checkBody refuses what is no message.
func checkBody(body string) error {
	if strings.TrimSpace(body) == "" {
		return protocol.Refuse(protocol.CodeInvalid, "the message is empty")
	}
	return protocol.CheckText(body)
}
