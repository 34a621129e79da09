package claude

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// install makes one change. What is remembered is on disk before the file changes: a crash in between leaves a record of pieces that
// are not there, which uninstall does not find.
func (p *Plan) install(ctx context.Context, c *Change, made []string) error {
	if err := p.refresh(c); err != nil || same(c.Before, c.After) {
		return err
	}
	if c.old.Kind == kindState && p.o.Add != nil {
		if added, err := p.addByClaude(ctx, c, made); added || err != nil {
			return err
		}
		if err := p.refresh(c); err != nil || same(c.Before, c.After) { // it may have written something
			return err
		}
	}
	next := *c.next
	next.After, next.Dirs = digest(c.After), innermostFirst(append(slices.Clone(c.old.Dirs), made...))
	c.next = &next
	both := next
	both.Pieces = append(slices.Clone(c.old.Pieces), next.Pieces...)
	if sum := digest(c.Before); sum == c.old.After {
		both.Earlier = sum
	}
	if err := p.o.save(&both); err != nil {
		return err
	}
	if err := p.o.keepCopy(c.old, &next); err != nil {
		return err
	}
	if err := p.write(c, c.After); err != nil {
		return err
	}
	return p.o.save(&next)
}

// refresh plans the change anew where the file is not what it was: Claude Code writes its own files at any time.
func (p *Plan) refresh(c *Change) error {
	now, err := readFile(c.old.Real)
	if err != nil || same(now, c.Before) {
		return err
	}
	if c.old.Kind == kindSkill {
		return errors.New("it was changed by somebody else just now; try again")
	}
	return c.plan(now)
}

// write makes the file hold b, and nil: be gone.
func (p *Plan) write(c *Change, b []byte) error {
	if b == nil {
		return removeFile(c.old.Real)
	}
	if err := p.o.put(c.old.Real, b, 0o600); err != nil {
		return err
	}
	back, err := readFile(c.old.Real)
	if err == nil && !same(back, b) {
		err = errors.New("it does not hold what was written")
	}
	return err
}

// addByClaude has Claude Code register us. False: it did not.
func (p *Plan) addByClaude(ctx context.Context, c *Change, made []string) (bool, error) {
	before, _ := c.old.without(c.Before)
	if p.o.Add(ctx, p.o.Command) != nil {
		return false, nil
	}
	after, err := readFile(c.old.Real)
	if err != nil || after == nil {
		return false, err
	}
	d, err := parseDocument(after)
	if err != nil || !p.registered(d) {
		return false, err
	}
	next := *c.old
	next.After, next.Command, next.Dirs = digest(after), p.o.Command, innermostFirst(append(slices.Clone(c.old.Dirs), made...))
	next.Pieces = d.taken(p.addedPaths(before)...)
	if next.Created = before == nil && emptyObject(d.text); !next.Created {
		next.Before = string(d.text)
		if sameMeaning(before, d.text) { // Claude Code changed nothing else, however it laid the file out
			next.Before = string(before)
		}
	}
	c.After, c.next = after, &next
	return true, errors.Join(p.o.save(&next), p.o.keepCopy(c.old, &next))
}

// addedPaths are the members that a registration adds to a file, the innermost first.
func (p *Plan) addedPaths(before []byte) [][]string {
	paths := [][]string{{"mcpServers", ServerName}}
	if d, err := parseDocument(before); err == nil {
		if _, had := d.find(paths[0][:1]); had {
			return paths
		}
	}
	return append(paths, paths[0][:1])
}

// registered tells whether the file has our server as we want it.
func (p *Plan) registered(d *document) bool {
	var got struct {
		Command string
		Args    []string
	}
	return d.get([]string{"mcpServers", ServerName}, &got) && got.Command == p.o.Command && len(got.Args) == 1 && got.Args[0] == "mcp"
}

// revert takes a change back: the file, what is remembered, and the directories. Where somebody changed the file since, only our
// pieces go.
func (p *Plan) revert(c Change, made []string) error {
	now, err := readFile(c.old.Real)
	if err != nil {
		return err
	}
	back := c.Before
	if !same(now, c.After) && !same(now, c.Before) && c.next != nil {
		back, _ = c.next.without(now)
	}
	if !same(now, back) {
		err = p.write(&c, back)
	}
	if c.old.After != "" {
		return errors.Join(err, p.o.save(c.old))
	}
	err = errors.Join(err, p.o.forget(c.old.Real))
	p.o.dropDirs(made)
	return err
}

// takeOutAll makes the changes of an uninstall. What was done is forgotten at once, so that it is not done again.
func (p *Plan) takeOutAll() error {
	var dirs []string
	var all error
	for i := range p.Changes {
		c := &p.Changes[i]
		err := p.refresh(c)
		if err == nil && !same(c.Before, c.After) {
			err = p.write(c, c.After)
		}
		if err == nil {
			err = p.o.forget(c.old.Real)
		}
		if err == nil {
			dirs = append(dirs, c.old.Dirs...)
		}
		all = errors.Join(all, wrap(c.Path, err))
	}
	for _, t := range p.gone {
		if err := p.o.forget(t.Real); err != nil {
			all = errors.Join(all, wrap(t.Path, err))
			continue
		}
		dirs = append(dirs, t.Dirs...)
	}
	p.o.dropDirs(dirs)
	return all
}

// innermostFirst sorts directories so that each comes before those that it is in.
func innermostFirst(dirs []string) []string {
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(dirs)
}
