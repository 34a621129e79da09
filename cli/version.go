package cli

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
)

// release is the version of a release build, set by the linker; other builds say what the Go toolchain recorded.
var release string

// build describes the running executable, in --version --json.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Crypto  string `json:"crypto"`
}

// thisBuild reads what was recorded when the executable was made.
func thisBuild() build {
	b := build{Version: release, Commit: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Crypto: crypto.Backend()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	modified := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified {
		b.Commit += "+changes"
	}
	if b.Version == "" {
		b.Version = strings.TrimPrefix(info.Main.Version, "v")
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

func versionVerb() *verb {
	return &verb{
		name: "version", heading: headRun, usage: "print the version, as --version does", flags: []urfave.Flag{jsonFlag()},
		examples: []string{"claudemesh version", "claudemesh version --json"},
		run:      func(_ context.Context, c *call) error { return c.printVersion() },
	}
}

func runRoot(ctx context.Context, c *call) error {
	switch {
	case c.yes("version"):
	case fresh():
		return c.begin(ctx)
	default:
		c.overview()
		return nil
	}
	return c.printVersion()
}

func (c *call) printVersion() error {
	b := thisBuild()
	if c.json {
		c.printJSON(b)
		return nil
	}
	c.say("claudemesh %s (commit %s, %s, %s/%s, crypto %s)", b.Version, b.Commit, b.Go, b.OS, b.Arch, b.Crypto)
	return nil
}
