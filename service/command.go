package service

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// commandTimeout is past what a unit's own start and stop may take; askTimeout is for questions, which a manager answers at
// once or, when it hangs, never.
const (
	commandTimeout = 75 * time.Second
	askTimeout     = 3 * time.Second
)

// ask runs a program that only tells something.
func ask(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return output(ctx, name, args...)
}

// output runs a program of the service manager and returns what it printed. The error has what it complained of.
func output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	words := strings.Join(strings.Fields(stderr.String()), " ")
	if words == "" {
		words = strings.Join(strings.Fields(stdout.String()), " ")
	}
	if words == "" {
		return stdout.String(), fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return stdout.String(), fmt.Errorf("%s: %s: %w", name, words, err)
}
