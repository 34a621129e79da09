package claude

import (
	"bytes"
	"context"
	"fmt"
	"os"
)

// ServerName is the name under which Claude Code knows us; our tools appear as mcp__claudemesh__….
const ServerName = "claudemesh"

// Options say what to install and where.
type Options struct {
	Paths   Paths
	Command string // how Claude Code is to start us: "claudemesh", or an absolute path
	Hooks   bool
	Skill   string // text of the skill; empty: none
	// Add registers the MCP server through Claude Code's own command line; nil, or an error: its file is edited.
	Add func(ctx context.Context, command string) error

	write func(path string, b []byte, mode os.FileMode) error // nil: writeAtomic
}

// put writes a file as a whole.
func (o Options) put(path string, b []byte, mode os.FileMode) error {
	if o.write != nil {
		return o.write(path, b, mode)
	}
	return writeAtomic(path, b, mode)
}

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
	p := &Plan{o: o}
	if err := p.add(kindState, o.Paths.State, p.editor(p.addServer)); err != nil {
		return nil, err
	}
	if o.Hooks {
		if err := p.add(kindSettings, o.Paths.Settings, p.editor(p.addSettings)); err != nil {
			return nil, err
		}
	}
	if o.Skill != "" {
		if err := p.add(kindSkill, o.Paths.Skill, p.placeSkill); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// editor makes a change of a JSON file. Where everything is in place already, nothing is done; else our pieces are put in anew,
// into what the file is without us.
func (p *Plan) editor(change func(*document) error) maker {
	return func(old *target, now []byte) ([]byte, *target, error) {
		probe, err := parseDocument(now)
		if err != nil {
			return nil, nil, err
		}
		if err := change(probe); err != nil {
			return nil, nil, err
		}
		if now != nil && bytes.Equal(now, probe.text) {
			return now, old, nil
		}
		t := *old
		base, _ := t.without(now)
		d, err := parseDocument(base)
		if err == nil {
			err = change(d)
		}
		if err != nil {
			return nil, nil, err
		}
		t.Created = base == nil || t.Created && t.After != "" && emptyObject(base)
		t.Before, t.Pieces, t.Command = string(base), d.pieces, p.o.Command
		return d.text, &t, nil
	}
}

func (p *Plan) addServer(d *document) error {
	return d.set([]string{"mcpServers", ServerName}, p.o.server())
}

// addSettings adds the hooks, and the status line if the user has none.
func (p *Plan) addSettings(d *document) error {
	for _, h := range hooks(p.o.Command) {
		path := []string{"hooks", h.event}
		if has(d, path, h.entry) {
			continue
		}
		if err := d.appendItem(path, h.entry); err != nil {
			return err
		}
	}
	var line map[string]any
	if d.get([]string{"statusLine"}, &line) && !ownCommand(fmt.Sprint(line["command"])) {
		p.note("you have a status line of your own: left as it is (claudemesh statusline prints ours)")
		return nil
	}
	return d.set([]string{"statusLine"}, statusLine(p.o.Command))
}

// placeSkill writes the skill, unless somebody changed the one that we wrote.
func (p *Plan) placeSkill(old *target, now []byte) ([]byte, *target, error) {
	base, ours := old.without(now)
	switch {
	case bytes.Equal(now, []byte(p.o.Skill)):
		return now, old, nil
	case old.After != "" && !ours:
		p.note("%s was changed since: left as it is", old.Path)
		return now, old, nil
	}
	t := *old
	if t.After == "" {
		base = now
	}
	t.Created, t.Before, t.Command = base == nil, string(base), p.o.Command
	return []byte(p.o.Skill), &t, nil
}

// PlanUninstall plans the inverse: the very bytes from before the install where nobody touched the file since, else our pieces
// alone are taken out.
func PlanUninstall(o Options) (*Plan, error) {
	p := &Plan{o: o, remove: true}
	known, err := o.targets()
	if err != nil {
		return nil, err
	}
	for _, file := range []struct {
		kind kind
		path string
	}{{kindState, o.Paths.State}, {kindSettings, o.Paths.Settings}, {kindSkill, o.Paths.Skill}} {
		if err := p.addRemovals(file.kind, file.path, known); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// addRemovals plans what becomes of the files behind a path: those that it led to when we installed, and the one that it leads
// to now.
func (p *Plan) addRemovals(k kind, path string, known []*target) error {
	real, err := resolve(path)
	if err != nil {
		return err
	}
	for _, t := range known {
		if t.Path != path || t.Real == real {
			continue
		}
		now, err := readFile(t.Real)
		if err := p.addTarget(t, now, err, p.takeBack); err != nil {
			return err
		}
	}
	now, err := readFile(real)
	return p.addTarget(find(k, path, real, known, now), now, err, p.takeBack)
}

// takeBack is what a file is without us.
func (p *Plan) takeBack(old *target, now []byte) ([]byte, *target, error) {
	base, ours := old.without(now)
	if !ours && old.After != "" {
		p.note("%s was changed since: left as it is", old.Path)
	}
	return base, nil, nil
}
