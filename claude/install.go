package claude

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// ServerName is the name under which Claude Code knows us; our tools appear as mcp__claudemesh__….
const ServerName = "claudemesh"

// Options say what to install and where.
type Options struct {
	Paths   Paths
	Record  string // file that remembers what was changed
	Command string // how Claude Code is to start us: "claudemesh", or an absolute path
	Hooks   bool
	Skill   string // text of the skill; empty: none
	// Add registers the MCP server through Claude Code's own command line; nil, or an error: its file is edited.
	Add func(ctx context.Context, command string) error
}

// Change is one file that is to become another.
type Change struct {
	Path          string
	Before, After []byte                // nil: no such file
	viaClaude     bool                  // Claude Code's own command line makes it
	again         func(*document) error // makes the same change in another text; nil: only in Before
}

// Diff shows the change to a person; empty if there is none.
func (c Change) Diff() string { return diff(c.Path, c.Before, c.After) }

// Plan is what install or uninstall would do. Nothing is done until Apply.
type Plan struct {
	Changes []Change
	Notes   []string // what the user should know: a status line that was left alone, a file that does not parse
	o       Options
	rec     *record
	remove  bool
}

// Empty says that there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// server is our entry in mcpServers, as `claude mcp add` writes it.
func (o Options) server() map[string]any {
	return map[string]any{"type": "stdio", "command": o.Command, "args": []string{"mcp"}, "env": map[string]any{}}
}

// AddCommand is what a person would type instead.
func (o Options) AddCommand() string {
	return fmt.Sprintf("claude mcp add %s --scope user -- %s mcp", ServerName, o.Command)
}

// PlanInstall plans to register us. Files that do not parse are an error that names the file: they are left alone.
func PlanInstall(o Options) (*Plan, error) {
	rec, err := loadRecord(o.Record)
	if err != nil {
		return nil, err
	}
	p := &Plan{o: o, rec: rec}
	if err := p.edit(o.Paths.State, o.Add != nil, func(d *document) error {
		return d.set([]string{"mcpServers", ServerName}, o.server())
	}); err != nil {
		return nil, err
	}
	if o.Hooks {
		if err := p.edit(o.Paths.Settings, false, p.addSettings); err != nil {
			return nil, err
		}
	}
	if o.Skill != "" {
		before, err := readFile(o.Paths.Skill)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(before, []byte(o.Skill)) {
			p.Changes = append(p.Changes, Change{Path: o.Paths.Skill, Before: before, After: []byte(o.Skill)})
		}
	}
	return p, nil
}

// edit plans one JSON file.
func (p *Plan) edit(path string, viaClaude bool, change func(*document) error) error {
	before, err := readFile(path)
	if err != nil {
		return err
	}
	d, err := parseDocument(before)
	if err != nil {
		return fmt.Errorf("%s is left alone: %w", path, err)
	}
	if err := change(d); err != nil {
		return fmt.Errorf("%s is left alone: %w", path, err)
	}
	if before != nil && bytes.Equal(before, d.text) {
		return nil
	}
	p.Changes = append(p.Changes, Change{Path: path, Before: before, After: d.text, viaClaude: viaClaude, again: change})
	return nil
}

// addSettings adds the hooks, and the status line if the user has none.
func (p *Plan) addSettings(d *document) error {
	for _, h := range hooks(p.o.Command) {
		path := []string{"hooks", h.event}
		if has(d, path, h.entry) {
			continue
		}
		// An older entry of ours, with another path or timeout, gives way.
		d.removeItems(path, func(item json.RawMessage) bool { return isOurs(item) && sameVerb(item, h.verb) })
		if err := d.appendItem(path, h.entry); err != nil {
			return err
		}
	}
	var line map[string]any
	switch {
	case !d.get([]string{"statusLine"}, &line), ownCommand(fmt.Sprint(line["command"])):
		return d.set([]string{"statusLine"}, statusLine(p.o.Command))
	default:
		p.Notes = append(p.Notes, "you have a status line of your own: left as it is (claudemesh statusline prints ours)")
	}
	return nil
}

// PlanUninstall plans the inverse: the very bytes from before the install where nobody touched the file since, else our members alone are taken out.
func PlanUninstall(o Options) (*Plan, error) {
	rec, err := loadRecord(o.Record)
	if err != nil {
		return nil, err
	}
	p := &Plan{o: o, rec: rec, remove: true}
	for _, path := range []string{o.Paths.State, o.Paths.Settings, o.Paths.Skill} {
		now, err := readFile(path)
		if err != nil {
			return nil, err
		}
		f := rec.Files[path]
		if now == nil {
			continue
		}
		if f.untouched(now) {
			after := f.Before
			if f.Created {
				after = nil
			} else if after == nil {
				after = []byte{}
			}
			p.Changes = append(p.Changes, Change{Path: path, Before: now, After: after})
			continue
		}
		if path == o.Paths.Skill {
			if f != nil {
				p.Notes = append(p.Notes, fmt.Sprintf("%s was changed since: left as it is", path))
			}
			continue
		}
		if err := p.takeOut(path, now, f); err != nil {
			p.Notes = append(p.Notes, err.Error())
		}
	}
	return p, nil
}

// takeOut plans to remove our members from a file that somebody else changed too.
func (p *Plan) takeOut(path string, now []byte, f *fileRecord) error {
	d, err := parseDocument(now)
	if err != nil {
		return fmt.Errorf("%s is left alone: %w", path, err)
	}
	before := &document{[]byte("{}")}
	if f != nil && f.Before != nil {
		if b, err := parseDocument(f.Before); err == nil {
			before = b
		}
	}
	if path == p.o.Paths.State {
		if !d.remove([]string{"mcpServers", ServerName}) {
			return nil
		}
		if _, had := before.find([]string{"mcpServers"}); !had {
			d.removeEmpty([]string{"mcpServers"})
		}
	} else {
		takeOutSettings(d, before)
	}
	if !bytes.Equal(now, d.text) {
		p.Changes = append(p.Changes, Change{Path: path, Before: now, After: d.text})
	}
	return nil
}

func takeOutSettings(d, before *document) {
	for _, event := range events {
		d.removeItems([]string{"hooks", event}, isOurs)
		if _, had := before.find([]string{"hooks", event}); !had {
			d.removeEmpty([]string{"hooks", event})
		}
	}
	if _, had := before.find([]string{"hooks"}); !had {
		d.removeEmpty([]string{"hooks"})
	}
	var line map[string]any
	if d.get([]string{"statusLine"}, &line) && ownCommand(fmt.Sprint(line["command"])) {
		d.remove([]string{"statusLine"})
	}
}

// Apply makes the changes, each file at once or not at all, and reads back what it wrote. What was done before an error stays done and recorded.
func (p *Plan) Apply(ctx context.Context) error {
	for _, c := range p.Changes {
		if err := p.apply(ctx, c); err != nil {
			return errors.Join(fmt.Errorf("change %s: %w", c.Path, err), p.rec.save(p.o.Record))
		}
	}
	if p.remove {
		if err := os.RemoveAll(p.o.backups()); err != nil {
			return err
		}
		p.rec.removeDirs()
		p.rec.Files = map[string]*fileRecord{}
	}
	return p.rec.save(p.o.Record)
}

func (p *Plan) apply(ctx context.Context, c Change) error {
	now, err := readFile(c.Path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, c.Before) || (now == nil) != (c.Before == nil) {
		if c, err = c.on(now); err != nil {
			return err
		}
	}
	if c.viaClaude {
		if err := p.o.backUp(c.Path, now); err != nil {
			return err
		}
	}
	switch {
	case c.viaClaude && p.o.Add(ctx, p.o.Command) == nil && p.registered():
		after, err := readFile(c.Path)
		if err != nil {
			return err
		}
		p.rec.note(c.Path, c.Before, after)
		return nil
	case c.After == nil:
		if err := os.Remove(c.Path); err != nil {
			return err
		}
		return nil
	}
	if !p.remove {
		if err := p.o.backUp(c.Path, now); err != nil {
			return err
		}
		p.rec.note(c.Path, now, c.After)
		if err := p.rec.save(p.o.Record); err != nil { // before the change: a crash in between leaves a record of an untouched file
			return err
		}
	}
	if err := writeAtomic(c.Path, c.After, 0o600); err != nil {
		return err
	}
	back, err := readFile(c.Path)
	if err == nil && !bytes.Equal(back, c.After) {
		err = errors.New("it does not hold what was written")
	}
	return err
}

// on makes the change in what the file holds by now: Claude Code writes its own files at any time, `claude mcp add` among them.
func (c Change) on(now []byte) (Change, error) {
	if c.again == nil {
		return c, errors.New("it was changed by somebody else just now; try again")
	}
	d, err := parseDocument(now)
	if err == nil {
		err = c.again(d)
	}
	c.Before, c.After = now, nil
	if d != nil {
		c.After = d.text
	}
	return c, err
}

// registered reads back whether Claude Code's file has our server as we want it.
func (p *Plan) registered() bool {
	b, err := readFile(p.o.Paths.State)
	if err != nil {
		return false
	}
	d, err := parseDocument(b)
	var got struct {
		Command string
		Args    []string
	}
	return err == nil && d.get([]string{"mcpServers", ServerName}, &got) && got.Command == p.o.Command && len(got.Args) == 1 && got.Args[0] == "mcp"
}

// Status is what doctor reports of the registration.
type Status struct {
	Server     string   // command that is registered; empty: none
	Hooks      []string // events that have a hook of ours
	Missing    []string // events that do not
	Skill      bool
	StatusLine bool
	Problems   []string // files that do not parse
}

// Inspect reads the files and changes nothing.
func Inspect(o Options) Status {
	var s Status
	read := func(path string) *document {
		b, err := readFile(path)
		if err == nil {
			var d *document
			if d, err = parseDocument(b); err == nil {
				return d
			}
		}
		s.Problems = append(s.Problems, fmt.Sprintf("%s: %v", path, err))
		return &document{[]byte("{}")}
	}
	var server struct{ Command string }
	read(o.Paths.State).get([]string{"mcpServers", ServerName}, &server)
	s.Server = server.Command
	settings := read(o.Paths.Settings)
	for _, event := range events {
		var list []json.RawMessage
		settings.get([]string{"hooks", event}, &list)
		found := false
		for _, item := range list {
			found = found || isOurs(item)
		}
		if found {
			s.Hooks = append(s.Hooks, event)
		} else {
			s.Missing = append(s.Missing, event)
		}
	}
	var line struct{ Command string }
	s.StatusLine = settings.get([]string{"statusLine"}, &line) && ownCommand(line.Command)
	b, err := readFile(o.Paths.Skill)
	s.Skill = err == nil && b != nil
	return s
}
