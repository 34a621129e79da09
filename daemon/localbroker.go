package daemon

import (
	"context"
	"sync"
	"time"
)

const brokerRetry = 5 * time.Second // between starts of a local broker that ended

// localBroker is the broker on this machine that config.json asked for.
type localBroker struct {
	listen string
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (b *localBroker) close() {
	b.cancel()
	b.done.Wait()
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
		d.log.Info("local broker stopped", "listen", old.listen)
	}
	if listen == "" || d.cfg.LocalBroker == nil {
		return
	}
	ctx, cancel := context.WithCancel(d.life)
	b := &localBroker{listen: listen, cancel: cancel}
	b.done.Go(func() { d.runBroker(ctx, listen) })
	d.mu.Lock()
	d.broker = b
	d.mu.Unlock()
}

// runBroker keeps a broker running until ctx ends.
func (d *Daemon) runBroker(ctx context.Context, listen string) {
	for {
		d.log.Info("local broker starts", "listen", listen)
		err := d.cfg.LocalBroker(ctx, listen, d.home.BrokerDir())
		if ctx.Err() != nil {
			return
		}
		d.log.Error("local broker ended", "listen", listen, "reason", err)
		t := time.NewTimer(brokerRetry)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}
