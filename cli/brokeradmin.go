package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/protocol"
)

func dataFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "data", Usage: "the broker that keeps everything in `DIR` (default ~/.claudemesh/broker)"}
}

func brokerAdminVerbs() []*verb {
	return []*verb{
		{
			name: "status", usage: "what a running broker carries, and how its last connections ended", flags: []urfave.Flag{dataFlag(), jsonFlag()},
			examples: []string{"claudemesh broker status", "sudo claudemesh broker status --data /var/lib/claudemesh --json"}, run: runBrokerStatus,
		},
		{
			name: "limits", usage: "the limits of a running broker", flags: []urfave.Flag{dataFlag(), jsonFlag()},
			about:    "They are set with broker --limit NAME=VALUE.",
			examples: []string{"claudemesh broker limits"}, run: runBrokerLimits,
		},
		{
			name: "backup", args: "<file>", min: 1, max: 1, usage: "copy a running broker's data base, with all that waits, to a file", flags: []urfave.Flag{dataFlag(), jsonFlag()},
			about: `The copy is consistent while the broker works on. To restore: an empty data directory, the copy as broker.db in it, and the
admin-token file if the old token shall stay.`,
			examples: []string{"claudemesh broker backup broker-2026-01-31.db"}, run: runBrokerBackup,
		},
		{
			name: "compact", usage: "give the disk back what a running broker's data base does not need", flags: []urfave.Flag{dataFlag(), jsonFlag()},
			examples: []string{"claudemesh broker compact"}, run: runBrokerCompact,
		},
	}
}

// serveAdmin serves the operator's socket until stop is called. A broker that cannot have one works without it.
func serveAdmin(srv *broker.Server, dir string, log *slog.Logger) (stop func()) {
	l, err := broker.ListenAdmin(dir, log)
	if err != nil {
		log.Warn("no operator's socket", "err", err)
		return func() {}
	}
	hs := &http.Server{Handler: srv.AdminHandler(), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.Serve(l) // ends with Close
	}()
	return func() {
		_ = hs.Close()
		<-done
		if err := l.Remove(); err != nil {
			log.Warn("operator's socket is left behind", "err", err)
		}
	}
}

// askBroker calls a running broker over the socket in its data directory and returns the body of its answer.
func (c *call) askBroker(ctx context.Context, method, path string) (io.ReadCloser, error) {
	dir, err := c.brokerDir()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return broker.DialAdmin(ctx, dir)
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://broker"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, protocol.Refuse(protocol.CodeForbidden, "the broker of %s is somebody else's", dir).WithHint("ask as the user who runs it, or with sudo")
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, protocol.Refuse(protocol.CodeUnavailable, "no broker runs on %s", dir).WithHint("--data names its directory; claudemesh broker starts one")
	case err != nil:
		return nil, protocol.Refuse(protocol.CodeUnavailable, "the broker of %s does not answer: %s", dir, err).WithHint("its log says more")
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var refused struct {
		Code  protocol.Code `json:"code"`
		Error string        `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&refused); err != nil {
		return nil, fmt.Errorf("ask the broker: %s", resp.Status)
	}
	return nil, protocol.Refuse(refused.Code, "%s", refused.Error)
}

func (c *call) askBrokerFor(ctx context.Context, method, path string, answer any) error {
	body, err := c.askBroker(ctx, method, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(answer); err != nil {
		return fmt.Errorf("read the broker's answer: %w", err)
	}
	return nil
}

func runBrokerStatus(ctx context.Context, c *call) error {
	var st broker.Status
	if err := c.askBrokerFor(ctx, http.MethodGet, "/v1/status", &st); err != nil {
		return err
	}
	if c.json {
		c.printJSON(st)
		return nil
	}
	state := "runs"
	if st.Draining {
		state = "is shutting down"
	}
	c.say("broker %s %s, pid %d, up %s", st.Version, state, st.PID, span(time.Duration(st.Uptime*float64(time.Second))))
	c.say("    waiting   %d messages and receipts, %s; data base %s, journal %s", st.Queue.Messages, bytesOf(st.Queue.Bytes), bytesOf(st.Queue.DataBytes), bytesOf(st.Queue.JournalBytes))
	c.say("    opening   %d connections that have not said hello", st.Hellos)
	if len(st.Meshes) > 0 {
		c.say("")
	}
	var rows [][]string
	for _, m := range st.Meshes {
		rows = append(rows, []string{clean(m.Slug), m.ID, strconv.Itoa(m.Members), strconv.Itoa(m.Controls), strconv.Itoa(m.Sessions), fmt.Sprintf("%d, %s", m.Queued, bytesOf(m.QueuedSize))})
	}
	if len(rows) > 0 {
		c.table([]string{"mesh", "id", "members", "daemons", "sessions", "mail that waits"}, rows)
	}
	rows = nil
	for _, e := range st.LastClosed {
		rows = append(rows, []string{e.At.Local().Format(time.DateTime), e.Kind, e.Member, e.Addr, e.Reason, span(time.Duration(e.Lasted * float64(time.Second)))})
	}
	if len(rows) > 0 {
		c.say("")
		c.table([]string{"ended", "kind", "member", "from", "reason", "lasted"}, rows)
	}
	for _, code := range sortedKeys(st.Refusals) {
		c.say("refused as %s: %d", code, st.Refusals[code])
	}
	return nil
}

// bytesOf writes a size as people read it.
func bytesOf(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

func runBrokerLimits(ctx context.Context, c *call) error {
	var limits []broker.LimitValue
	if err := c.askBrokerFor(ctx, http.MethodGet, "/v1/limits", &limits); err != nil {
		return err
	}
	if c.json {
		c.printJSON(limits)
		return nil
	}
	var rows [][]string
	for _, l := range limits {
		rows = append(rows, []string{l.Name, l.Value})
	}
	c.table([]string{"limit", "value"}, rows)
	return nil
}

func runBrokerBackup(ctx context.Context, c *call) error {
	path := c.arg(0)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return protocol.Refuse(protocol.CodeExists, "%s is there already", path)
	}
	if err != nil {
		return err
	}
	n, err := c.fetchBackup(ctx, f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a backup is none
	}
	if c.json {
		c.printJSON(map[string]any{"ok": true, "file": path, "bytes": n})
		return nil
	}
	c.say("%s of broker data in %s", bytesOf(n), path)
	return nil
}

func (c *call) fetchBackup(ctx context.Context, to io.Writer) (int64, error) {
	body, err := c.askBroker(ctx, http.MethodPost, "/v1/backup")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return io.Copy(to, body)
}

func runBrokerCompact(ctx context.Context, c *call) error {
	var done broker.Compacted
	if err := c.askBrokerFor(ctx, http.MethodPost, "/v1/compact", &done); err != nil {
		return err
	}
	if c.json {
		c.printJSON(done)
		return nil
	}
	c.say("%s before, %s now", bytesOf(done.Before), bytesOf(done.After))
	return nil
}
