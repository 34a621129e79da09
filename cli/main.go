package cli

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/claudemesh/claudemesh/daemon/config"
)

// Main runs one command line (without the program's name) and returns its exit code.
// It returns when the verb is done, or soon after SIGINT or SIGTERM.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // else a closed pipe ends us in the middle of a step
	return newApp(stdin, stdout, stderr).run(ctx, args)
}

// app is what every verb works with: the streams, and what is known of the terminal.
type app struct {
	stdin  io.Reader
	stdout *stream
	stderr *stream
	colour bool // stdout is a terminal that wants colours
	root   *verb
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: &stream{w: stdout}, stderr: &stream{w: stderr}, colour: wantsColour(stdout), root: verbs()}
}

// run runs one command line, closes stdout, and reports what went wrong.
func (a *app) run(ctx context.Context, argv []string) int {
	line, err := a.perform(ctx, argv)
	if err == nil {
		a.stdout.close()
		err = a.orUnwritten(line, nil)
	}
	if err != nil {
		a.report(line, err)
	}
	return exitCode(err)
}

// perform arranges the arguments and runs the verb that they name.
func (a *app) perform(ctx context.Context, argv []string) (*line, error) {
	l, err := arrange(a.root, argv)
	if err == nil && l.has(flagOtherHome) {
		err = os.Setenv(config.EnvOtherHome, "1") // also for a daemon that the verb starts
	}
	if err == nil {
		err = a.orUnwritten(l, a.dispatch(ctx, l))
	}
	return l, err
}

// orUnwritten returns the error of the verb, or that its output did not arrive: whatever else it says, nobody has read it.
func (a *app) orUnwritten(l *line, err error) error {
	if exitCode(err) == exitIO || l.verb.silent {
		return err
	}
	return cmp.Or(a.written(), err)
}
