package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// maxTail bounds what `daemon logs` reads from the end of the log.
const maxTail = 4 << 20

func logsVerb() *verb {
	return &verb{
		name: "logs", usage: "print the end of the daemon's log",
		flags: []urfave.Flag{
			&urfave.IntFlag{Name: "lines", Usage: "print the last `N` lines", Value: 50},
			&urfave.BoolFlag{Name: "follow", Usage: "stay, and print each line as it is written"},
		},
		examples: []string{"claudemesh daemon logs --lines 200", "claudemesh daemon logs --follow"},
		run:      runLogs,
	}
}

func runLogs(ctx context.Context, c *call) error {
	n, err := c.positive("lines")
	if err != nil {
		return err
	}
	home, err := config.FindHome()
	if err != nil {
		return err
	}
	f, err := os.Open(home.LogFile())
	if errors.Is(err, fs.ErrNotExist) {
		return protocol.Refuse(protocol.CodeNotFound, "there is no log yet").WithHint("claudemesh daemon up")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := c.tail(f, n)
	if err != nil || !c.yes("follow") {
		return err
	}
	return c.followLog(ctx, home.LogFile(), end)
}

// tail prints the last n lines and returns the offset behind them.
func (c *call) tail(f *os.File, n int) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	b := make([]byte, min(size, maxTail))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	from := len(bytes.TrimSuffix(b, []byte("\n")))
	for ; n > 0 && from >= 0; n-- {
		from = bytes.LastIndexByte(b[:from], '\n')
	}
	fmt.Fprint(c.stdout, cleanText(string(b[from+1:])))
	return size, nil
}

// followLog prints what is appended behind offset, from the beginning again when the file was replaced by a shorter one.
func (c *call) followLog(ctx context.Context, path string, offset int64) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		b, err := readFrom(path, &offset)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		fmt.Fprint(c.stdout, cleanText(string(b)))
		if err := c.written(); err != nil {
			return err
		}
	}
}

func readFrom(path string, offset *int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // between two files of a rotation
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < *offset {
		*offset = 0
	}
	b, err := io.ReadAll(io.NewSectionReader(f, *offset, maxTail))
	*offset += int64(len(b))
	return b, err
}
