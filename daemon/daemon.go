package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/daemon/api"
	"github.com/claudemesh/claudemesh/daemon/asking"
	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/memory"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/recall/source"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// Config of a daemon. Home is needed; the zero value of everything else works.
type Config struct {
	Home    config.Home
	Version string
	Build   string // names the executable exactly, so that a client can tell an old daemon after an upgrade

	Dial   func(ctx context.Context, network, addr string) (net.Conn, error) // to brokers; nil means net.Dialer
	Logger *slog.Logger                                                      // nil means daemon.log in the home
	Now    func() time.Time                                                  // nil means time.Now

	// LocalBroker runs a broker on this machine until ctx ends, where config.json asks for one. It is injected because
	// daemon and broker meet only on the wire. Nil means that there is none to run.
	LocalBroker func(ctx context.Context, listen, dir string) error

	// Composer writes answers to questions of peers, where the user allows that. Nil: nothing is composed.
	Composer ask.Composer

	// Recordings are where the sessions of this user's agents are recorded; the memory reads them.
	Recordings []source.Source

	Ready func() // called once, when the socket answers; may be nil

	watchEvery time.Duration // of config.json; zero means one second
	started    func(*Daemon) // called when the socket answers
	maxStreams int           // of events; zero means the default
}

// Daemon is the one daemon of a user on a machine: it holds the store, the socket, and a mesh for each membership.
type Daemon struct {
	*roster.Roster

	// fixed at construction
	cfg    Config
	give   *delivery.Dispatcher
	waits  *delivery.Attention
	asks   *ask.Engine
	memory *memory.Keeper
	api    *api.API
	stop   context.CancelCauseFunc

	mu     sync.Mutex
	broker *localBroker
	rest   *restServer
}

// Run runs the daemon until ctx ends, POST /v1/shutdown, or an error that a restart might mend. Stopping is graceful: what
// was accepted is on disk before. Where another daemon runs the error has CodeExists and nothing was touched.
func Run(ctx context.Context, cfg Config) error {
	db, err := openHome(ctx, cfg.Home)
	if err != nil {
		return err
	}
	defer db.Close()
	log, closer, err := openLog(cfg)
	if err != nil {
		return err
	}
	defer closer.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := newDaemon(ctx, cfg, db, log, cancel)
	d.openSpool()
	if err := writePID(cfg.Home); err != nil {
		return err
	}
	defer os.Remove(pidFile(cfg.Home))
	ln, err := localsocket.Listen(cfg.Home.SocketFile(), func(uid uint32, err error) { log.Warn("local socket: refused", "uid", uid, "err", err) })
	if err != nil {
		return fmt.Errorf("open the local socket: %w", err)
	}
	err = d.run(ln)
	log.Info("daemon stopped", "pid", os.Getpid())
	return err
}

func newDaemon(ctx context.Context, cfg Config, db *store.DB, log *slog.Logger, stop context.CancelCauseFunc) *Daemon {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	clock := wallclock.New(cfg.Now)
	cfg.Now = clock.Now
	if cfg.watchEvery == 0 {
		cfg.watchEvery = time.Second
	}
	r := roster.New(ctx, cfg.Home, db, log, clock, brokerhttp.For(cfg.Dial, cfg.Now))
	d := &Daemon{cfg: cfg, stop: stop, Roster: r}
	d.Applied = func(c *config.Config) {
		d.reloadBroker(c.LocalBroker)
		d.reloadREST(c.RESTListen)
	}
	d.give = delivery.New(d.Roster)
	d.Ended = d.give.Rungs.Forget
	d.waits = delivery.NewAttention(d.Roster)
	d.memory = memory.New(cfg.Home.RecallFile(), recall.Options{Sources: cfg.Recordings, Now: cfg.Now, Mail: d.seenMail}, log)
	host := asking.New(d.Roster, d.memory)
	d.asks = ask.New(ask.Config{DB: db, Host: host, Composer: cfg.Composer, Log: log, Now: cfg.Now})
	d.Env.Asked = d.asks.Wake
	d.api = api.New(api.Config{
		Roster: d.Roster, Delivery: d.give, Attention: d.waits, Memory: d.memory, Recordings: cfg.Recordings, Asks: d.asks, AskHost: host,
		Version: cfg.Version, Build: cfg.Build, Stop: stop, LocalBroker: d.brokerHealth, MaxStreams: cfg.maxStreams,
	})
	return d
}

// openSpool opens the place of files on their way. Where that goes wrong files are refused, and everything else works.
func (d *Daemon) openSpool() {
	s, err := spool.Open(d.DB, filepath.Join(d.Home.Dir(), "files"), d.cfg.Now, d.Log)
	if err != nil {
		d.Log.Error("no files can be sent or saved", "err", err)
		return
	}
	d.Env.Files = s
	d.Left = func(mesh protocol.MeshID) {
		if err := s.DropMesh(mesh); err != nil {
			d.Log.Warn("forget files", "err", err)
		}
	}
}

// run serves until the daemon's life ends. Everything that it started has ended when it returns.
func (d *Daemon) run(ln *localsocket.Listener) error {
	d.Log.Info("daemon starts", "pid", os.Getpid(), "version", d.cfg.Version, "home", d.Home.Dir())
	seen := statConfig(d.Home)
	d.Reload()
	if err := d.openSessions(); err != nil {
		d.stop(nil)
		d.close()
		return errors.Join(err, ln.Close(), ln.Remove())
	}
	defer d.Live.Close()
	var wg sync.WaitGroup
	wg.Go(func() { d.Live.Run(d.Life) })
	wg.Go(func() { d.Env.Clock.Watch(d.Life) })
	wg.Go(func() { d.Mail.Run(d.Life, d.Log, d.Env.Clock.Settled) })
	wg.Go(func() { d.watch(seen, ln) })
	wg.Go(func() { d.memory.Run(d.Life) })
	wg.Go(func() { d.asks.Run(d.Life) })
	wg.Go(func() { d.give.WatchLeases(d.Life) })
	wg.Go(func() { d.waits.Run(d.Life) })
	err := d.serve(ln)
	d.stop(nil)
	wg.Wait()
	d.close()
	return err
}

// openSessions takes up what an earlier daemon knew of sessions and their exchanges.
func (d *Daemon) openSessions() error {
	if err := d.give.Guard.Load(); err != nil {
		return fmt.Errorf("read the exchanges of sessions: %w", err)
	}
	return d.OpenRegistry()
}

// close ends the meshes, and what else config.json asked for.
func (d *Daemon) close() {
	d.CloseMeshes()
	d.mu.Lock()
	broker, rest := d.broker, d.rest
	d.broker, d.rest = nil, nil
	d.mu.Unlock()
	if rest != nil {
		rest.close()
	}
	if broker != nil {
		broker.close()
	}
}

// endingPatience is how long a daemon waits for one that holds the store and does not answer: it is about to end.
const endingPatience = 5 * time.Second

// openHome wins the store, whose lock makes this daemon the only one.
func openHome(ctx context.Context, home config.Home) (*store.DB, error) {
	until := time.Now().Add(endingPatience)
	db, err := table.Open(home.DBFile())
	for errors.Is(err, store.ErrLocked) && !localsocket.Answers(home.SocketFile()) && ctx.Err() == nil && time.Now().Before(until) {
		db, err = table.Open(home.DBFile()) // waits for the lock itself, a second
	}
	switch {
	case errors.Is(err, store.ErrLocked):
		who := "another daemon runs"
		if pid := readPID(home); pid != 0 {
			who += fmt.Sprintf(" (pid %d)", pid)
		}
		return nil, protocol.Refuse(protocol.CodeExists, "%s on %s", who, home.Dir()).WithHint("claudemesh daemon down stops it")
	case errors.Is(err, store.ErrNoLocks):
		return nil, config.NoLocks(home.Dir(), err)
	case errors.Is(err, store.ErrNewer):
		return nil, protocol.Refuse(protocol.CodeNotSupported, "%v", err).WithHint("install the newer claudemesh again; this one leaves the file alone")
	case errors.Is(err, store.ErrFull):
		return nil, protocol.Refuse(protocol.CodeStoreFull, "%v", err)
	}
	return db, err
}

// pidFile names the process that holds the store. It is for people and messages: the lock decides.
func pidFile(home config.Home) string { return filepath.Join(home.Dir(), "daemon.pid") }

func writePID(home config.Home) error {
	return config.WriteFile(pidFile(home), []byte(strconv.Itoa(os.Getpid())+"\n"))
}

func readPID(home config.Home) int {
	b, err := os.ReadFile(pidFile(home))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// Holder is the process that has the home's store open, whether it answers or not: for a caller that reached no daemon.
func Holder(home config.Home) (pid int, held bool) {
	pid = readPID(home)
	if pid == 0 {
		return 0, false
	}
	return pid, errors.Is(table.Check(home), store.ErrLocked)
}

// openLog opens the daemon's log, unless the caller brought one.
func openLog(cfg Config) (*slog.Logger, io.Closer, error) {
	if cfg.Logger != nil {
		return cfg.Logger, io.NopCloser(nil), nil
	}
	level := slog.LevelInfo
	if os.Getenv("CLAUDEMESH_DEBUG") != "" {
		level = slog.LevelDebug
	}
	f, err := openLogFile(cfg.Home.LogFile(), maxLogFile)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	return slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{Level: level})), f, nil
}

// watch reloads config.json when it is not the seen one any more, and keeps the socket in its place, until the daemon's life ends. It looks at identity, time
// and size alone: a look costs a microsecond, works on every file system, and every writer of ours replaces the file.
func (d *Daemon) watch(seen fs.FileInfo, ln *localsocket.Listener) {
	lost := ""
	tick := time.NewTicker(d.cfg.watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-d.Life.Done():
			return
		case <-tick.C:
		}
		if now := statConfig(d.Home); !sameFile(seen, now) {
			seen = now
			d.Reload()
		}
		lost = d.mendSocket(ln, lost)
	}
}

// mendSocket opens the local socket anew where somebody removed it. It returns why that went wrong, and logs what is not the same
// as before.
func (d *Daemon) mendSocket(ln *localsocket.Listener, before string) string {
	mended, err := ln.Mend()
	switch {
	case err != nil && err.Error() != before:
		d.Log.Error("local socket lost", "path", ln.Path(), "err", err)
	case mended:
		d.Log.Warn("local socket reopened", "path", ln.Path())
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// statConfig returns nil where there is no file.
func statConfig(home config.Home) fs.FileInfo {
	info, err := os.Stat(home.ConfigFile())
	if err != nil {
		return nil
	}
	return info
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}
