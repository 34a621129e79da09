package claude

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// maker says what a file becomes, and what is to be remembered of that; a nil target: nothing.
type maker func(old *target, now []byte) (after []byte, t *target, err error)

// Change is one file that is to become another.
type Change struct {
	Path          string
	Before, After []byte // nil: no such file

	old, next *target // what is remembered before and behind it; next nil: nothing
	make      maker
}

// Diff shows the change to a person; empty if there is none.
func (c Change) Diff() string { return diff(c.Path, c.Before, c.After) }

// plan makes the change for what the file holds now.
func (c *Change) plan(now []byte) (err error) {
	c.Before = now
	c.After, c.next, err = c.make(c.old, now)
	return err
}

// Plan is what install or uninstall would do. Nothing is done until Apply.
type Plan struct {
	Changes []Change
	Notes   []string // what the user should know: a status line that was left alone, a file that does not parse
	o       Options
	remove  bool
	gone    []*target // of which nothing is to be done: what is remembered of them is dropped
	done    []Change
}

// Empty says that there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

func (p *Plan) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(p.Notes, note) {
		p.Notes = append(p.Notes, note)
	}
}

// add plans the change of a file.
func (p *Plan) add(k kind, path string, how maker) error {
	real, err := resolve(path)
	if err != nil {
		return err
	}
	known, err := p.o.targets()
	if err != nil {
		return err
	}
	now, err := readFile(real)
	return p.addTarget(find(k, path, real, known, now), now, err, how)
}

// addTarget plans what becomes of a file that holds now, or cannot be read.
func (p *Plan) addTarget(t *target, now []byte, err error, how maker) error {
	c := Change{Path: t.Path, old: t, make: how}
	if err == nil {
		err = c.plan(now)
	}
	if err != nil {
		err = fmt.Errorf("%s is left alone: %w", t.Path, err)
		if !p.remove {
			return err
		}
		p.note("%s", err)
		return nil
	}
	switch {
	case !same(c.Before, c.After):
		p.Changes = append(p.Changes, c)
	case p.remove:
		p.gone = append(p.gone, t)
	}
	return nil
}

// Apply makes the changes and reads back what it wrote. An install that fails leaves nothing behind; an uninstall that fails can
// be done again.
func (p *Plan) Apply(ctx context.Context) error {
	if p.remove {
		return p.takeOutAll()
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		made, err := p.o.dirsFor(c.old)
		if err == nil {
			err = p.install(ctx, c, made)
		}
		if err == nil {
			p.done = append(p.done, *c)
			continue
		}
		return errors.Join(fmt.Errorf("change %s: %w", c.Path, err), p.revert(*c, made), p.Revert())
	}
	return nil
}

// Revert takes back what Apply did, for an install of which a later step fails.
func (p *Plan) Revert() error {
	var all error
	for _, c := range slices.Backward(p.done) {
		all = errors.Join(all, p.revert(c, c.next.Dirs))
	}
	p.done = nil
	return all
}
