package cli

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/bench"
	"github.com/claudemesh/claudemesh/daemon/enrol"
	"github.com/claudemesh/claudemesh/protocol"
)

func benchVerb() *verb {
	return &verb{
		name: "bench", heading: headRun, usage: "put load on a broker and count what arrives",
		flags: []urfave.Flag{
			&urfave.IntFlag{Name: "peers", Usage: "`N` members of one mesh", Value: 100},
			&urfave.IntFlag{Name: "messages", Usage: "each sends `N`", Value: 100},
			&urfave.IntFlag{Name: "size", Usage: "of `BYTES` each", Value: 256},
			&urfave.StringFlag{Name: "rate", Usage: "`R` messages a second in all, or burst", Value: "burst"},
			&urfave.StringFlag{Name: "pattern", Usage: "who writes to whom: `WORD` is random, pairs, fanout or offline", Value: string(bench.Random)},
			&urfave.IntFlag{Name: "window", Usage: "at most `N` messages of one peer without an answer", Value: 1024},
			&urfave.BoolFlag{Name: "receipts", Usage: "ask for a receipt of each message, as daemons do"},
			&urfave.IntFlag{Name: "meshes", Usage: "beside it `N` other meshes"},
			&urfave.IntFlag{Name: "idle", Usage: "and `N` connections that only wait"},
			&urfave.StringFlag{Name: "settle", Usage: "wait `TIME` with all connected, before the memory is read and the first message sent"},
			&urfave.IntFlag{Name: "queued", Usage: "and `N` messages for somebody who is away"},
			&urfave.StringFlag{Name: "url", Usage: "of a broker that runs; without it one is started and thrown away"},
			&urfave.StringFlag{Name: "token-file", Usage: "`FILE` with that broker's admin token (or CLAUDEMESH_ADMIN_TOKEN)"},
			&urfave.StringFlag{Name: "dir", Usage: "keep the files of a broker of our own in `DIR`"},
			&urfave.StringFlag{Name: "limits", Usage: "`off`: our own broker takes any rate and depth"},
			&urfave.BoolFlag{Name: "floor", Usage: "first a relay that neither checks nor stores, for comparison"},
			&urfave.BoolFlag{Name: "restart", Usage: "afterwards restart our own broker and see the connections return"},
			jsonFlag(),
		},
		about: `Messages are sealed before the clock starts; what arrives is compared, and some of it opened, after it has stopped. Refused
messages are repeated when the broker said that they may be. Exit code 1 if anything was lost, changed or came twice.`,
		examples: []string{
			"claudemesh bench --peers 100 --messages 1000 --limits off --floor",
			"claudemesh bench --peers 2 --messages 2000 --window 1 --pattern pairs",
			"claudemesh bench --rate 2000 --messages 200 --json",
		},
		run: runBench,
		subs: []*verb{
			{name: "relay", usage: "the bare relay of --floor", run: runFloor, examples: []string{"claudemesh bench relay"}},
		},
	}
}

func runBench(ctx context.Context, c *call) error {
	o, err := c.benchOptions()
	if err != nil {
		return err
	}
	r, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(r)
	} else {
		c.printBench(r, o)
	}
	if !r.OK() {
		return protocol.Refuse(protocol.CodeAlarm, "%d lost, %d twice, %d changed", r.Lost, r.Duplicates, r.Altered)
	}
	return nil
}

func (c *call) benchOptions() (o bench.Options, err error) {
	o = bench.Options{
		Peers: c.flags.Int("peers"), Messages: c.flags.Int("messages"), Size: c.flags.Int("size"), Window: c.flags.Int("window"),
		Receipts: c.yes("receipts"), Meshes: c.flags.Int("meshes"), Idle: c.flags.Int("idle"), Queued: c.flags.Int("queued"),
		Dir: c.str("dir"), Floor: c.yes("floor"), Restart: c.yes("restart"), Log: c.note,
	}
	if o.Settle, err = c.duration("settle"); err != nil {
		return o, err
	}
	pattern, err := c.oneOf("pattern")
	if err != nil {
		return o, err
	}
	o.Pattern = bench.Pattern(pattern)
	off, err := c.oneOf("limits")
	if err != nil {
		return o, err
	}
	o.NoLimits = off != ""
	if rate := c.str("rate"); rate != "burst" {
		if o.Rate, err = strconv.ParseFloat(rate, 64); err != nil || o.Rate <= 0 {
			return o, protocol.Refuse(protocol.CodeInvalid, "--rate takes a number above 0, or burst, not %q", rate)
		}
	}
	if typed := c.str("url"); typed != "" {
		if o.URL, err = protocol.NormalizeBrokerURL(typed); err != nil {
			return o, err
		}
		if o.AdminToken, err = c.adminToken(); err != nil {
			return o, err
		}
	}
	o.Executable, err = os.Executable()
	return o, err
}

// adminToken is that of somebody else's broker.
func (c *call) adminToken() (string, error) {
	file := c.str("token-file")
	if file == "" {
		return os.Getenv(enrol.EnvAdminToken), nil
	}
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

func (c *call) printBench(r *bench.Report, o bench.Options) {
	ms := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " ms" }
	rows := [][]string{
		{"sent", strconv.Itoa(r.Sent)},
		{"delivered", fmt.Sprintf("%d: %d lost, %d twice, %d changed, %d out of order", r.Delivered, r.Lost, r.Duplicates, r.Altered, r.OutOfOrder)},
		{"repeated after a refusal", strconv.Itoa(r.Retried)},
		{"time", fmt.Sprintf("%.2f s", r.Seconds)},
		{"throughput", fmt.Sprintf("%.0f messages/s", r.Throughput)},
		{"send to ack, on disk", "p50 " + ms(r.AckP50) + ", p99 " + ms(r.AckP99)},
	}
	if o.Pattern != bench.Offline {
		rows = append(rows, []string{"send to push", "p50 " + ms(r.P50) + ", p95 " + ms(r.P95) + ", p99 " + ms(r.P99)})
	}
	if r.BrokerRSS > 0 {
		rows = append(rows, []string{"broker", fmt.Sprintf("%.2f s CPU, %.1f µs each; %.0f MiB with all connected, %.0f MiB at most",
			r.BrokerCPU, r.CPUEach, r.IdleRSS, r.BrokerRSS)})
	}
	if d := r.Drain; d != nil {
		rows = append(rows, []string{"drain", fmt.Sprintf("%.2f s, %.0f messages/s, %.0f MiB at most", d.Seconds, d.Throughput, d.RSS)})
	}
	for _, p := range r.Return {
		rows = append(rows, []string{fmt.Sprintf("%d %% returned", p.Percent), fmt.Sprintf("after %.2f s", p.Seconds)})
	}
	if f := r.Floor; f != nil {
		rows = append(rows, []string{"floor", fmt.Sprintf("%.0f messages/s, p50 %s, p99 %s, %.2f s CPU; this broker does %.2f of it, %.2f by CPU time",
			f.Throughput, ms(f.P50), ms(f.P99), f.CPU, r.Ratio, r.CPURatio)})
	}
	rows = append(rows, []string{"load of the machine before", fmt.Sprintf("%.1f", r.Load)})
	c.table([]string{"bench", cmp.Or(string(o.Pattern), string(bench.Random))}, rows)
}

// runFloor serves the floor until it is told to end.
func runFloor(ctx context.Context, c *call) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	c.say("bare relay listening on ws://%s/ws", ln.Addr())
	return bench.ServeRelay(ctx, ln)
}
