package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Claude reads the transcripts of Claude Code.
type Claude struct {
	Dir string // the projects directory below the client's config directory
}

// ClaudeDir returns the projects directory of the client that runs with this environment:
// below CLAUDE_CONFIG_DIR, else below ~/.claude.
func ClaudeDir(home, configDir string) string {
	if configDir == "" {
		configDir = filepath.Join(home, ".claude")
	}
	return filepath.Join(configDir, "projects")
}

// Agent implements Source.
func (c Claude) Agent() string { return "claude" }

// Root implements Source.
func (c Claude) Root() string { return c.Dir }

// Owns implements Source.
func (c Claude) Owns(path string) bool {
	rel, err := filepath.Rel(c.Dir, path)
	return err == nil && filepath.IsLocal(rel) && strings.HasSuffix(path, ".jsonl") && depth(rel) <= maxDepth
}

const maxDepth = 8 // projects/<project>/<session>/subagents/agent-*.jsonl are four

func depth(rel string) int { return strings.Count(filepath.ToSlash(rel), "/") + 1 }

// Files implements Source. Links are not followed: a recording lies in the client's own directory.
func (c Claude) Files(ctx context.Context, yield func(File) error) error {
	return filepath.WalkDir(c.Dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			if rel, _ := filepath.Rel(c.Dir, path); depth(rel) > maxDepth {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !c.Owns(path) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		return yield(File{Path: path, Size: info.Size(), ModTime: info.ModTime()})
	})
}

// Open opens the recording at path, which lies in root. It fails for what is no regular file, and for
// what a link leads out of root.
func Open(root, path string) (*os.File, error) {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if info, err := r.Lstat(rel); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	return r.Open(rel)
}

// Read implements Source.
func (c Claude) Read(ctx context.Context, path string, r io.Reader, start int64, known func(uint64) bool, emit func(*Episode) error) (Progress, error) {
	session, sub := c.identity(path)
	b := newBuilder(session, sub, known, emit)
	lines := newLineReader(r, start)
	for {
		if ctx.Err() != nil {
			return b.progress(lines.from), ctx.Err()
		}
		line, err := lines.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return b.progress(lines.at), err
			}
			break
		}
		if err := b.line(line, lines.from); err != nil {
			return b.progress(lines.from), err
		}
	}
	err := b.flush()
	return b.progress(lines.at), err
}

// identity reads session and sub-agent off the path: <session>.jsonl or <session>/subagents/agent-<id>.jsonl.
func (c Claude) identity(path string) (session, sub string) {
	name := strings.TrimSuffix(filepath.Base(path), ".jsonl")
	if dir := filepath.Dir(path); filepath.Base(dir) == "subagents" {
		return filepath.Base(filepath.Dir(dir)), strings.TrimPrefix(name, "agent-")
	}
	return name, ""
}

// ErrNotRegular is what Open says of a link, a device or a directory.
var ErrNotRegular = errors.New("not a regular file")
