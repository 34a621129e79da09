package files

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestFromProject: what an agent may send by itself.
func TestFromProject(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path string) {
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a.txt", "sub/b.txt", ".env", "prod.env", ".git-not/x", "id_rsa", "server.key", "Credentials.json", "build/out.log", "sub/.hidden",
		"secrets/db.yaml", "app/config/prod.yml", "app/main.go"} {
		write(filepath.Join(dir, name))
	}
	write(filepath.Join(outside, "passwd"))
	if runtime.GOOS != "windows" {
		os.Symlink(filepath.Join(outside, "passwd"), filepath.Join(dir, "link"))
		os.Symlink(outside, filepath.Join(dir, "way"))
	}
	check := func(name, why string) {
		t.Helper()
		f, err := FromProject(t.Context(), dir, name)
		if err == nil {
			f.Close()
		}
		if why == "" && err != nil || why != "" && (err == nil || !strings.Contains(err.Error(), why)) {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
	}
	check("a.txt", "")
	check("sub/../sub/b.txt", "")
	check(filepath.Join(dir, "a.txt"), "")
	check("build/out.log", "")
	for name, why := range map[string]string{
		"../" + filepath.Base(outside) + "/passwd": "outside", filepath.Join(outside, "passwd"): "outside", "/etc/passwd": "outside",
		".env": "hidden", "sub/.hidden": "hidden", ".git-not/x": "hidden", "prod.env": "secret", "id_rsa": "secret", "server.key": "secret",
		"Credentials.json": "secret", "secrets/db.yaml": "secret", "none": "no file", "sub": "directory", "a\x00b": "outside",
	} {
		check(name, why)
	}
	if runtime.GOOS != "windows" {
		check("link", "is a link")
		check("way/passwd", "outside")
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	repository := func(dir, ignored string) {
		if out, err := exec.Command("git", "-C", dir, "init", "-q").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(ignored), 0o600)
	}
	repository(filepath.Join(dir, "app"), "config/\n") // below a project that is in no repository
	check("app/main.go", "")
	check("app/config/prod.yml", "git ignores it")
	repository(dir, "build/\n")
	check("a.txt", "")
	check("app/config/prod.yml", "git ignores it")
	check("build/out.log", "git ignores it")
	t.Setenv("PATH", t.TempDir())
	check("a.txt", "does not say")
}
