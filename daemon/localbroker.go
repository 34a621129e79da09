package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

const brokerRetry = 5 * time.Second // between starts of a local broker that ended

// localBroker is the broker on this machine that config.json asked for.
type localBroker struct {
	listen string
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	err     error     // of the last run; nil before the first one ends
	running time.Time // zero between two runs
}

// brokerSettles is how long a broker runs that found its port free.
const brokerSettles = time.Second

// health says why the broker does not run, as far as that is known.
func (b *localBroker) health(now time.Time) *protocol.LocalBrokerHealth {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &protocol.LocalBrokerHealth{Listen: b.listen}
	if b.err != nil && (b.running.IsZero() || now.Sub(b.running) < brokerSettles) {
		h.Error = b.err.Error()
	}
	return h
}

// starts and ends note what became of a run.
func (b *localBroker) starts(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = now
}

func (b *localBroker) ends(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.err = time.Time{}, err
}

func (b *localBroker) close() {
	b.cancel()
	b.done.Wait()
}

// brokerHealth is nil where config.json asks for no broker.
func (d *Daemon) brokerHealth() *protocol.LocalBrokerHealth {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broker == nil {
		return nil
	}
	return d.broker.health(d.Now())
}

// reloadBroker makes the running local broker the one that is asked for; an empty address means none.
func (d *Daemon) reloadBroker(listen string) {
	d.mu.Lock()
	old := d.broker
	if old != nil && old.listen == listen || old == nil && listen == "" {
		d.mu.Unlock()
		return
	}
	d.broker = nil
	d.mu.Unlock()
	if old != nil {
		old.close()
		d.Log.Info("local broker stopped", "listen", old.listen)
	}
	if listen == "" || d.cfg.LocalBroker == nil {
		return
	}
	ctx, cancel := context.WithCancel(d.Life)
	b := &localBroker{listen: listen, cancel: cancel}
	b.done.Go(func() { d.runBroker(ctx, b) })
	d.mu.Lock()
	d.broker = b
	d.mu.Unlock()
}

// runBroker keeps a broker running until ctx ends.
func (d *Daemon) runBroker(ctx context.Context, b *localBroker) {
	for {
		d.Log.Info("local broker started", "listen", b.listen)
		b.starts(d.Now())
		err := d.cfg.LocalBroker(ctx, b.listen, d.Home.BrokerDir())
		b.ends(err)
		if ctx.Err() != nil {
			return
		}
		d.Log.Error("local broker ended", "listen", b.listen, "err", err)
		t := time.NewTimer(brokerRetry)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}
