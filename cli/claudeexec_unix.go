//go:build !windows

package cli

import (
	"context"
	"fmt"
	"syscall"
)

// runClaude becomes the other program: terminal, signals and exit code are its own from here on.
func runClaude(_ context.Context, path string, args, env []string) error {
	return fmt.Errorf("start %s: %w", path, syscall.Exec(path, args, env))
}
