package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// wantsColour tells whether w is a terminal whose owner did not refuse colours (no-color.org).
func wantsColour(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(file any) bool {
	if s, ok := file.(*stream); ok {
		file = s.w
	}
	f, ok := file.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Colours, as SGR parameters.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint wraps s in a colour where there are colours.
func (a *app) paint(sgr, s string) string {
	if !a.colour || s == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// say prints one line of data.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.stdout, format+"\n", args...) }

// note prints one line of chatter.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// printJSON prints v as an indented document.
func (a *app) printJSON(v any) {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	a.encode(e, v)
}

// printEach prints items as one indented array, each as it comes: a long list takes no memory. After an error the array is not
// closed, so that nobody takes it for whole.
func printEach[T any](c *call, items iter.Seq2[T, error]) error {
	before := "["
	for item, err := range items {
		if err != nil {
			return err
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetIndent("  ", "  ")
		c.encode(e, item)
		fmt.Fprintf(c.stdout, "%s\n  %s", before, bytes.TrimRight(b.Bytes(), "\n"))
		before = ","
		if err := c.written(); err != nil {
			return err
		}
	}
	if before == "[" {
		c.say("[]")
		return nil
	}
	c.say("\n]")
	return nil
}

// printLine prints v on one line: the form of streams.
func (a *app) printLine(v any) { a.encode(json.NewEncoder(a.stdout), v) }

func (a *app) encode(e *json.Encoder, v any) {
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil && a.stdout.failed() == nil {
		a.note("claudemesh: print JSON: %s", err)
	}
}

// list returns items as it is printed under --json: an empty list is [], never null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// table prints rows under dim headings, in columns that are as wide as their widest cell.
func (a *app) table(headings []string, rows [][]string) {
	widths := make([]int, len(headings))
	for _, row := range append([][]string{headings}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	a.say("%s", a.paint(dim, columns(headings, widths)))
	for _, row := range rows {
		a.say("%s", columns(row, widths))
	}
}

func columns(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
	}
	return strings.TrimRight(b.String(), " ")
}
