package claude

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The property of install and uninstall: whatever was done in between and in whatever order, an uninstall leaves each file as it
// would be if we had never been there. The model is that file: what people do to the real one, they do to the model, too.

// modelFile is a file of Claude Code as it is without us.
type modelFile struct {
	path   string // as Claude Code knows it
	text   []byte // nil: there is none
	loose  bool   // only the meaning counts from now on: people changed what is around our pieces
	linked string // where the link at path leads; empty: it is none

	former []*modelFile // where it led before
}

// site is one Claude Code, such as the one of CLAUDE_CONFIG_DIR.
type site struct {
	o     Options
	files map[string]*modelFile // state, settings, skill
	other map[string]string     // all other files and links below it
}

type world struct {
	root  string
	sites []*site
	count int // of values that people wrote
}

var startTexts = []string{
	"", "{}", "{\n}\n", someState, someSettings, `{"a":1,"b":{"c":[]}}`, `{ "theme": "dark", "hooks": { } }`, "{\r\n    \"a\": 1\r\n}\r\n",
	"{\n\t\"mcpServers\": {\n\t\t\"claudemesh\": {\"command\": \"npx\", \"args\": [\"old\"]}\n\t}\n}", "{\"mcpServers\": {}, \"hooks\": {\"Stop\": []}, \"x\": \"claudemesh\"}\n",
	`{"statusLine": {"type": "command", "command": "mine"}, "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]}}`,
}

func newWorld(t *rapid.T, root string) *world {
	w := &world{root: root}
	for i := range 2 {
		dir := filepath.Join(root, fmt.Sprintf("claude%d", i))
		s := &site{files: map[string]*modelFile{}}
		s.o = Options{write: unsynced, Paths: FindPaths("/nonexistent", dir), Command: "/usr/local/bin/claudemesh", Hooks: true, Skill: "a skill\n"}
		if rapid.Bool().Draw(t, "there is a directory") {
			must(t, os.MkdirAll(dir, 0o755))
		}
		for name, path := range map[string]string{"state": s.o.Paths.State, "settings": s.o.Paths.Settings, "skill": s.o.Paths.Skill} {
			s.files[name] = &modelFile{path: path}
		}
		for _, name := range []string{"state", "settings"} {
			w.begin(t, s.files[name])
		}
		if rapid.IntRange(0, 3).Draw(t, "a skill of his own") == 0 {
			s.files["skill"].text = []byte("his own skill\n")
			w.put(t, s.o.Paths.Skill, s.files["skill"].text)
		}
		s.other = w.rest(t, s)
		w.sites = append(w.sites, s)
	}
	return w
}

// begin makes a file: there or not, behind a link or not, behind one that leads nowhere.
func (w *world) begin(t *rapid.T, f *modelFile) {
	text := []byte(rapid.SampledFrom(startTexts).Draw(t, "text"))
	switch rapid.IntRange(0, 4).Draw(t, "file") {
	case 0: // none
	case 1:
		f.linked = filepath.Join(w.root, fmt.Sprintf("dotfiles/deep/%x", digest([]byte(f.path))[:8]))
		must(t, os.MkdirAll(filepath.Dir(f.path), 0o755))
		must(t, os.Symlink(f.linked, f.path)) // dangling
	case 2:
		f.linked = filepath.Join(w.root, fmt.Sprintf("dotfiles/%x", digest([]byte(f.path))[:8]))
		must(t, os.MkdirAll(filepath.Dir(f.path), 0o755))
		must(t, os.Symlink(f.linked, f.path))
		f.text = text
		w.put(t, f.linked, text)
	default:
		f.text = text
		w.put(t, f.path, text)
	}
}

// unsynced is writeAtomic without the wait for the disk.
func unsynced(path string, b []byte, mode os.FileMode) error {
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	tmp := filepath.Join(filepath.Dir(path), ".claudemesh-tmp")
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(tmp, b, mode), os.Rename(tmp, path))
}

func (w *world) put(t *rapid.T, path string, text []byte) {
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, text, 0o644))
}

func must(t interface{ Fatal(...any) }, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// rest lists everything that is not one of the files: it must be the same again after each uninstall.
func (w *world) rest(t *rapid.T, s *site) map[string]string {
	all := map[string]string{}
	dir := filepath.Dir(s.o.Paths.State)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range s.files {
			if f.path == path && f.linked == "" {
				return nil
			}
		}
		all[path] = d.Type().String()
		if d.Type()&fs.ModeSymlink != 0 {
			all[path], err = os.Readlink(path)
		}
		return err
	}))
	return all
}

func (w *world) site(t *rapid.T) *site {
	return w.sites[rapid.IntRange(0, len(w.sites)-1).Draw(t, "site")]
}

// options draws how install is called.
func (w *world) options(t *rapid.T, s *site) Options {
	o := s.o
	o.Command = rapid.SampledFrom([]string{"claudemesh", "/usr/local/bin/claudemesh", "/opt/new place/claudemesh"}).Draw(t, "command")
	o.Hooks = rapid.IntRange(0, 3).Draw(t, "hooks") > 0
	o.Skill = rapid.SampledFrom([]string{"", "a skill\n", "a newer skill\n"}).Draw(t, "skill")
	return o
}

func (w *world) install(t *rapid.T) {
	p, err := PlanInstall(w.options(t, w.site(t)))
	must(t, err)
	must(t, p.Apply(context.Background()))
}

// installFails has the nth write go wrong. Then all is as before.
func (w *world) installFails(t *rapid.T) {
	s := w.site(t)
	o := w.options(t, s)
	left := rapid.IntRange(0, 8).Draw(t, "writes that work")
	broken := false
	o.write = func(path string, b []byte, mode os.FileMode) error {
		if left--; left == -1 {
			broken = true
			return errors.New("no space left on device")
		}
		return unsynced(path, b, mode)
	}
	before := w.snapshot(t)
	p, err := PlanInstall(o)
	must(t, err)
	err = p.Apply(context.Background())
	if (err != nil) != broken {
		t.Fatalf("install: %v, a write failed: %v", err, broken)
	}
	if broken {
		w.wantSame(t, before)
	}
}

// installThenRevert is an install of which a later step fails.
func (w *world) installThenRevert(t *rapid.T) {
	before := w.snapshot(t)
	p, err := PlanInstall(w.options(t, w.site(t)))
	must(t, err)
	must(t, p.Apply(context.Background()))
	must(t, p.Revert())
	w.wantSame(t, before)
}

// crashes ends install or uninstall in the middle, as kill -9 does.
func (w *world) crashes(t *rapid.T) {
	s := w.site(t)
	o := w.options(t, s)
	left := rapid.IntRange(0, 8).Draw(t, "writes that work")
	o.write = func(path string, b []byte, mode os.FileMode) error {
		if left--; left == -1 {
			panic("kill -9")
		}
		return unsynced(path, b, mode)
	}
	plan := PlanInstall
	if rapid.Bool().Draw(t, "uninstall") {
		plan = PlanUninstall
	}
	p, err := plan(o)
	must(t, err)
	func() {
		defer func() { _ = recover() }()
		must(t, p.Apply(context.Background()))
	}()
}

func (w *world) uninstall(t *rapid.T) {
	s := w.site(t)
	p, err := PlanUninstall(s.o)
	must(t, err)
	must(t, p.Apply(context.Background()))
	w.wantWithoutUs(t, s)
}

func (w *world) wantWithoutUs(t *rapid.T, s *site) {
	for name, f := range w.all(s) {
		now, err := readFile(f.path)
		must(t, err)
		switch {
		case f.loose && !strings.HasPrefix(name, "skill") && (now == nil) == (f.text == nil) && sameMeaning(inOrder(t, now), inOrder(t, f.text)):
		case same(now, f.text):
		default:
			t.Fatalf("%s of %s is\n%q\nwant (only the meaning counts: %v)\n%q", name, s.o.Paths.State, now, f.loose, f.text)
		}
	}
	rest := w.rest(t, s)
	for _, f := range s.files {
		for dir := filepath.Dir(f.path); f.text != nil && s.other[dir] == ""; dir = filepath.Dir(dir) {
			if dir == w.root {
				break
			}
			delete(rest, dir) // made for a file of ours, and by now it has something of his
		}
	}
	if !maps.Equal(rest, s.other) {
		t.Fatalf("other files:\n%v\nwere\n%v", rest, s.other)
	}
}

// inOrder sorts the hooks of each event: a command that somebody put into an entry of ours may end at another place.
func inOrder(t *rapid.T, text []byte) []byte {
	var v struct {
		Hooks map[string][]json.RawMessage `json:"hooks"`
	}
	d, err := parseDocument(text)
	must(t, err)
	if _, ok := d.find([]string{"hooks"}); !ok || json.Unmarshal(d.text, &v) != nil {
		return text
	}
	for _, list := range v.Hooks {
		for i := range list {
			var b bytes.Buffer
			must(t, json.Compact(&b, list[i]))
			list[i] = b.Bytes()
		}
		slices.SortFunc(list, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	}
	must(t, d.set([]string{"hooks"}, v.Hooks))
	return d.text
}

// all are the files of a site, and those that its links led to.
func (w *world) all(s *site) map[string]*modelFile {
	all := maps.Clone(s.files)
	for name, f := range s.files {
		for i, former := range f.former {
			all[fmt.Sprintf("%s, once %d", name, i)] = former
		}
	}
	return all
}

// snapshot is every file of all sites, what is remembered included.
func (w *world) snapshot(t *rapid.T) map[string]string {
	all := map[string]string{}
	must(t, filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // a dangling link
			b, err = nil, nil
		}
		all[path] = d.Type().String() + string(b)
		return err
	}))
	return all
}

func (w *world) wantSame(t *rapid.T, before map[string]string) {
	now := w.snapshot(t)
	for path := range before {
		if now[path] != before[path] {
			t.Fatalf("%s is\n%q\nwas\n%q", path, now[path], before[path])
		}
	}
	for path := range now {
		if _, was := before[path]; !was {
			t.Fatalf("%s is left behind", path)
		}
	}
}

// edit is what somebody does to a file; it is done to the real one and to the model. Of a file that is not there, nothing.
func (w *world) edit(t *rapid.T, name string, loosens bool, do func(d *document)) {
	f := w.site(t).files[name]
	now, err := readFile(f.path)
	must(t, err)
	if now == nil || len(bytes.TrimSpace(now)) == 0 {
		return
	}
	apply := func(text []byte) []byte {
		d, err := parseDocument(text)
		must(t, err)
		do(d)
		if !json.Valid(d.text) {
			t.Fatalf("the test wrote %s", d.text)
		}
		return d.text
	}
	after := apply(now)
	if bytes.Equal(now, after) {
		return
	}
	if model := apply(f.text); len(bytes.TrimSpace(f.text)) > 0 || !emptyObject(model) {
		f.text = model
	}
	f.loose = f.loose || loosens
	real, err := resolve(f.path)
	must(t, err)
	w.put(t, real, after)
}

func (w *world) file(t *rapid.T) string {
	return rapid.SampledFrom([]string{"state", "settings"}).Draw(t, "file")
}

// changeValue changes a value of his own, in its place.
func (w *world) changeValue(t *rapid.T) {
	w.count++
	w.edit(t, w.file(t), false, func(d *document) {
		for _, key := range []string{"numStartups", "model", "a", "theme", "x"} {
			if v, ok := d.find([]string{key}); ok {
				d.replace(v, []byte(fmt.Sprint(w.count)))
			}
		}
	})
}

// addMember adds a member at the end, as another program does.
func (w *world) addMember(t *rapid.T) {
	w.count++
	w.edit(t, w.file(t), true, func(d *document) {
		must(t, d.set([]string{fmt.Sprintf("k%d", w.count)}, w.count))
	})
}

// addFirst adds a member before all others.
func (w *world) addFirst(t *rapid.T) {
	w.count++
	w.edit(t, w.file(t), true, func(d *document) {
		at := skipSpace(d.text, 0)
		text := fmt.Sprintf(`"f%d": %d`, w.count, w.count)
		if !emptyObject(d.text) {
			text += ", "
		}
		d.replace(value{at + 1, at + 1}, []byte(text))
	})
}

// addHook adds a hook of his own, after or before ours.
func (w *world) addHook(t *rapid.T) {
	w.count++
	event := rapid.SampledFrom(events).Draw(t, "event")
	w.edit(t, "settings", true, func(d *document) {
		must(t, d.appendItem([]string{"hooks", event}, map[string]any{"hooks": []any{map[string]any{"command": fmt.Sprint("mine ", w.count)}}}))
	})
}

// addServer adds an MCP server.
func (w *world) addServer(t *rapid.T) {
	w.count++
	w.edit(t, "state", true, func(d *document) {
		must(t, d.set([]string{"mcpServers", fmt.Sprint("s", w.count)}, map[string]any{"command": "x"}))
	})
}

// reformat has a program write the file anew, with the same meaning.
func (w *world) reformat(t *rapid.T) {
	indent := rapid.SampledFrom([]string{"", "  ", "\t"}).Draw(t, "indent")
	w.edit(t, w.file(t), true, func(d *document) {
		var b bytes.Buffer
		if indent == "" {
			must(t, json.Compact(&b, d.text))
		} else {
			must(t, json.Indent(&b, d.text, "", indent))
		}
		d.text = b.Bytes()
	})
}

// bend changes our own entries by hand; the model has none.
func (w *world) bend(t *rapid.T) {
	for _, f := range []string{"state", "settings"} {
		file := w.site(t).files[f]
		now, err := readFile(file.path)
		must(t, err)
		bent := strings.ReplaceAll(strings.ReplaceAll(string(now), `"timeout": 5`, `"timeout": 17`), `"env": {}`, `"env": {"X": "1"}`)
		if bent != string(now) {
			real, err := resolve(file.path)
			must(t, err)
			w.put(t, real, []byte(bent))
			file.loose = true
		}
	}
}

// joinOurEntry puts a command of his own into one of our entries: it is his and stays.
func (w *world) joinOurEntry(t *rapid.T) {
	w.count++
	mine := map[string]any{"type": "command", "command": fmt.Sprint("mine ", w.count)}
	f := w.site(t).files["settings"]
	now, err := readFile(f.path)
	must(t, err)
	if now == nil {
		return
	}
	d, err := parseDocument(now)
	must(t, err)
	at, ok := d.find([]string{"hooks", "UserPromptSubmit"})
	if !ok {
		return
	}
	us := &target{}
	for _, it := range items(d.text, at) {
		entry, err := parseDocument(d.text[it.start:it.end])
		must(t, err)
		if !us.isOurs(entry.text) {
			continue
		}
		must(t, entry.appendItem([]string{"hooks"}, mine))
		d.replace(it, entry.text)
		model, err := parseDocument(f.text)
		must(t, err)
		must(t, model.appendItem([]string{"hooks", "UserPromptSubmit"}, map[string]any{"hooks": []any{mine}}))
		f.text, f.loose = model.text, true
		real, err := resolve(f.path)
		must(t, err)
		w.put(t, real, d.text)
		return
	}
}

// relink lets a link lead to another file, which is there already.
func (w *world) relink(t *rapid.T) {
	w.count++
	s := w.site(t)
	f := s.files[w.file(t)]
	text := []byte(rapid.SampledFrom(startTexts).Draw(t, "text"))
	if f.linked == "" {
		return
	}
	f.former = append(f.former, &modelFile{path: f.linked, text: f.text, loose: f.loose})
	f.linked, f.text, f.loose = filepath.Join(w.root, "dotfiles", fmt.Sprint(w.count)), text, false
	w.put(t, f.linked, text)
	must(t, os.Remove(f.path))
	must(t, os.Symlink(f.linked, f.path))
	s.other[f.path] = f.linked
}

// unlink has a program put a file where the link was, with the content of what it led to.
func (w *world) unlink(t *rapid.T) {
	s := w.site(t)
	f := s.files[w.file(t)]
	now, err := readFile(f.path)
	must(t, err)
	if f.linked == "" || now == nil {
		return
	}
	f.former = append(f.former, &modelFile{path: f.linked, text: f.text, loose: f.loose})
	f.linked = ""
	must(t, os.Remove(f.path))
	w.put(t, f.path, now)
	delete(s.other, f.path)
}

// close takes the right to write away from a file, and gives it back or not.
func (w *world) closeFile(t *rapid.T) {
	f := w.site(t).files[w.file(t)]
	if info, err := os.Stat(f.path); err == nil {
		must(t, os.Chmod(f.path, info.Mode().Perm()^0o222))
	}
}

// quick sets the number of sequences to what takes seconds. More: go test ./claude -run TakesBack -rapid.checks=1000.
func quick(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		must(t, f.Value.Set("20"))
		t.Cleanup(func() { must(t, f.Value.Set(f.DefValue)) })
	}
}

func TestInstallTakesBackExactlyItsOwn(t *testing.T) {
	quick(t)
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "cm")
		must(t, err)
		defer os.RemoveAll(root)
		w := newWorld(t, root)
		t.Repeat(map[string]func(*rapid.T){
			"install": w.install, "install again": w.install, "install fails": w.installFails, "install is reverted": w.installThenRevert,
			"uninstall": w.uninstall, "killed": w.crashes,
			"change a value": w.changeValue, "add a member": w.addMember, "add a first member": w.addFirst, "add a hook": w.addHook,
			"add a server": w.addServer, "reformat": w.reformat, "bend ours": w.bend, "join our entry": w.joinOurEntry, "read-only": w.closeFile, "lead the link elsewhere": w.relink, "put a file in place of the link": w.unlink,
		})
		for _, s := range w.sites {
			p, err := PlanUninstall(s.o)
			must(t, err)
			must(t, p.Apply(context.Background()))
			w.wantWithoutUs(t, s)
		}
		if left, err := filepath.Glob(filepath.Join(root, "*", ".claudemesh*")); err != nil || len(left) > 0 {
			t.Fatalf("left behind: %v, %v", left, err)
		}
	})
}
