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
	for _, name := range []string{"a.txt", "sub/b.txt", ".env", "prod.env", ".git-not/x", "id_rsa", "server.key", "Credentials.json", "build/out.log", "sub/.hidden"} {
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
		"Credentials.json": "secret", "none": "no file", "sub": "directory", "a\x00b": "outside",
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
	if out, err := exec.Command("git", "-C", dir, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("build/\n"), 0o600)
	check("a.txt", "")
	check("build/out.log", "git ignores it")
	t.Setenv("PATH", t.TempDir())
	check("a.txt", "does not say")
}
