package claude

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// tree is every file below dir with its content.
func tree(t *rapid.T, dir string) map[string]string {
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(rel)] = "directory"
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			all[filepath.ToSlash(rel)] = string(b)
			return err
		}
		return nil
	}))
	return all
}

// Whatever was exported, changed by hand and added in between, remove leaves what is not ours.
func TestRemoveExportTakesBackExactlyItsOwn(t *testing.T) {
	quick(t)
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "cm")
		must(t, err)
		defer os.RemoveAll(root)
		dir := filepath.Join(root, "deep", "plugin")
		his := map[string]string{}
		write := func(rel string) {
			text := strings.Repeat("x", rapid.IntRange(0, 20).Draw(t, "length"))
			path := filepath.Join(dir, rel)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(text), 0o644))
			for at := rel; at != "."; at = filepath.Dir(at) {
				his[at] = "directory"
			}
			his[rel] = text
		}
		exported := false
		t.Repeat(map[string]func(*rapid.T){
			"export": func(t *rapid.T) {
				p := Plugin{Version: rapid.SampledFrom([]string{"1.0.0", "1.1.0"}).Draw(t, "version"), Command: "claudemesh", Skill: "a skill\n"}
				_, err := p.Export(dir)
				if refused := err != nil; refused != (!exported && len(his) > 0) {
					t.Fatal(err)
				}
				exported = exported || err == nil
			},
			"change a file": func(t *rapid.T) {
				if rel := rapid.SampledFrom([]string{"README.md", "hooks/hooks.json"}).Draw(t, "file"); exists(filepath.Join(dir, rel)) {
					write(rel)
				}
			},
			"add a file": func(t *rapid.T) {
				if exists(dir) {
					write(rapid.SampledFrom([]string{"mine", "hooks/mine", "own/deep/mine"}).Draw(t, "file"))
				}
			},
			"remove": func(t *rapid.T) {
				if _, err := RemoveExport(dir); (err == nil) != exported {
					t.Fatal(err)
				}
				exported = false
				if len(his) == 0 {
					if exists(filepath.Join(root, "deep")) {
						t.Fatal("the directory stays")
					}
					return
				}
				if now := tree(t, dir); !maps.Equal(now, his) {
					t.Fatalf("it is\n%v\nhis are\n%v", now, his)
				}
			},
		})
	})
}

// An export that fails leaves what was there.
func TestExportThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plugin")
	p := Plugin{Version: "1.0.0", Command: "claudemesh", Skill: "a skill\n"}
	if _, err := p.Export(dir); err != nil {
		t.Fatal(err)
	}
	obstacle := filepath.Join(dir, "skills", "claudemesh", "SKILL.md") // the last file
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(obstacle, 0o755); err != nil {
		t.Fatal(err)
	}
	before := text(t, filepath.Join(dir, "README.md")) + text(t, filepath.Join(dir, "hooks", "hooks.json")) + text(t, filepath.Join(dir, exportedName))
	p.Command = "/elsewhere/claudemesh"
	if _, err := p.Export(dir); err == nil {
		t.Fatal("no error")
	}
	if now := text(t, filepath.Join(dir, "README.md")) + text(t, filepath.Join(dir, "hooks", "hooks.json")) + text(t, filepath.Join(dir, exportedName)); now != before {
		t.Errorf("it is\n%s\nwas\n%s", now, before)
	}
}
