package cli

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	urfave "github.com/urfave/cli/v2"
)

// help prints the overview, or the page of one verb, on stdout.
func (a *app) help(l *line) {
	if l.verb == a.root {
		a.overview()
		return
	}
	a.page(l.path, l.verb)
}

func (a *app) overview() {
	a.say("claudemesh: %s", a.root.usage)
	a.say("")
	a.say("usage: claudemesh <verb> [arguments] [flags]    flags may stand anywhere before --")
	heading := ""
	for _, v := range a.root.subs {
		if v.heading == "" {
			continue
		}
		if v.heading != heading {
			heading = v.heading
			a.say("\n%s", a.paint(bold, heading))
		}
		a.say("  %-12s %s", v.name, v.usage)
	}
	a.say("\n%s", a.paint(bold, "Examples"))
	for _, e := range a.root.examples {
		a.say("  %s", e)
	}
	a.say("\n%s", a.paint(bold, "Exit codes"))
	a.say("  0 ok · 1 refused or failed · 2 not authorised · 3 bad arguments or ambiguous · 4 not reachable, or not yet in the")
	a.say("  required state · 5 not found · 6 exists · 7 denied by policy · 8 internal · 9 claude missing · 10 input or output")
	a.say("\nclaudemesh help <verb> shows a verb's flags and examples. Every verb takes --allow-other-home: it works in a home that")
	a.say("belongs to another user, whom the files that it makes there may lock out.")
}

func (a *app) page(path []string, v *verb) {
	name := strings.Join(path, " ")
	a.say("claudemesh %s: %s", name, v.usage)
	a.say("")
	if v.run != nil {
		a.say("usage: claudemesh %s", strings.Join(strings.Fields(name+" "+v.args+" [flags]"), " "))
	}
	if len(v.subs) > 0 {
		if v.run != nil {
			a.say("")
		}
		a.say("%s", a.paint(bold, "Commands"))
		var rows [][2]string
		for _, s := range v.subs {
			rows = append(rows, [2]string{strings.TrimSpace(name + " " + s.name + " " + s.args), s.usage})
		}
		a.pairs(rows)
	}
	if v.about != "" {
		a.say("\n%s", v.about)
	}
	if rows := flagRows(v.flags); len(rows) > 0 {
		a.say("\n%s", a.paint(bold, "Flags"))
		a.pairs(rows)
	}
	if len(v.aliases) > 0 {
		a.say("\nAlso: %s", strings.Join(v.aliases, ", "))
	}
	if len(v.examples) > 0 {
		a.say("\n%s", a.paint(bold, "Examples"))
		for _, e := range v.examples {
			a.say("  %s", e)
		}
	}
}

// pairs prints an indented column of names with what they mean.
func (a *app) pairs(rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r[0]))
	}
	for _, r := range rows {
		a.say("  %s%s  %s", r[0], strings.Repeat(" ", width-utf8.RuneCountInString(r[0])), r[1])
	}
}

// flagRows returns the flags as help shows them, those with a value first.
func flagRows(flags []urfave.Flag) [][2]string {
	var rows [][2]string
	for _, f := range slices.Concat(filter(flags, true), filter(flags, false)) {
		d := f.(urfave.DocGenerationFlag) // every flag of urfave/cli is one
		usage, placeholder := d.GetUsage(), ""
		if before, rest, ok := strings.Cut(usage, "`"); ok {
			word, after, _ := strings.Cut(rest, "`")
			usage, placeholder = before+word+after, " "+word
		}
		if def := defaultOf(d); def != "" {
			usage += " (default " + def + ")"
		}
		rows = append(rows, [2]string{fmt.Sprintf("--%s%s", f.Names()[0], placeholder), usage})
	}
	return rows
}

func defaultOf(d urfave.DocGenerationFlag) string {
	if def := strings.Trim(d.GetDefaultText(), `"`); d.TakesValue() && def != "" && def != "0" {
		return def
	}
	return ""
}

func filter(flags []urfave.Flag, value bool) []urfave.Flag {
	var out []urfave.Flag
	for _, f := range flags {
		if takesValue(f) == value {
			out = append(out, f)
		}
	}
	return out
}
