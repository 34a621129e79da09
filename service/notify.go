package service

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// States for Notify (sd_notify(3)).
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	alive    = "WATCHDOG=1"
)

// Notify tells systemd about this process, one assignment an argument; where no manager asked for that it does nothing.
// What follows "STATUS=" is shown by systemctl status.
func Notify(states ...string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // the net package knows "@" for abstract names
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(strings.Join(states, "\n")))
	return err
}

// Watch tells systemd's watchdog that we live, as long as works says so, and returns when ctx ends, or at once where the
// unit has no watchdog. It asks twice in every period; works gets half a period for its answer.
func Watch(ctx context.Context, works func(context.Context) bool) {
	period := watchdogPeriod(os.Getenv, os.Getpid())
	if period <= 0 {
		return
	}
	tick := time.NewTicker(period / 2)
	defer tick.Stop()
	for {
		asked, cancel := context.WithTimeout(ctx, period/2)
		if works(asked) {
			_ = Notify(alive) // a manager that does not hear it restarts us, which is what the watchdog is for
		}
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchdogPeriod reads what systemd expects of this very process.
func watchdogPeriod(getenv func(string) string, pid int) time.Duration {
	if p := getenv("WATCHDOG_PID"); p != "" && p != strconv.Itoa(pid) {
		return 0
	}
	us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}
