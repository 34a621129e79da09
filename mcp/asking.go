package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	askMost    = 10              // senders that one session's user is asked about; the others wait for `claudemesh accept`
	askTries   = 4               // a client that cannot ask yet, or at all (claude -p), cancels by itself
	askAgain   = 5 * time.Second // and is asked again after this
	askTooFast = time.Second     // nobody reads a dialog and puts it away within this: it was the client
	acceptWord = "accept"        // must be typed: a dialog that opens under the fingers of somebody who types is not agreed to by chance
	heldPause  = 5 * time.Second // before the daemon is asked again after an error
)

// asking asks the user of a session about each sender whose messages are held, once, one after the other, in a dialog of his client. Neither the dialog nor
// the answer goes through the model.
type asking struct {
	s      *server
	elicit func(context.Context, *sdk.ElicitParams) (*sdk.ElicitResult, error)
	wake   chan struct{}

	mu     sync.Mutex
	held   []protocol.HeldSender
	asked  map[string]int // tries by sender; askTries: never again
	open   string         // whom the open dialog is about
	cancel context.CancelFunc
}

// ask runs until ctx ends. A client that has no dialogs leaves it to the status line and `claudemesh accept`.
func (s *server) ask(ctx context.Context) {
	select {
	case <-s.initialized:
	case <-ctx.Done():
		return
	}
	if !hasDialogs(s.client) {
		return
	}
	newAsking(s, s.client.Elicit).run(ctx)
}

func newAsking(s *server, elicit func(context.Context, *sdk.ElicitParams) (*sdk.ElicitResult, error)) *asking {
	return &asking{s: s, elicit: elicit, wake: make(chan struct{}, 1), asked: make(map[string]int)}
}

func (a *asking) run(ctx context.Context) {
	var dialogs sync.WaitGroup
	dialogs.Go(func() { a.dialogs(ctx) })
	a.watch(ctx)
	dialogs.Wait()
}

// watch follows whose messages are held, and closes a dialog that became pointless.
func (a *asking) watch(ctx context.Context) {
	var known []string
	for ctx.Err() == nil {
		var held protocol.HeldReply
		err := a.s.withSession(ctx, func() (err error) {
			held, err = a.s.Mesh.Held(ctx, protocol.HeldRequest{Session: a.s.session(), Known: known, WaitMS: int(takeWait.Milliseconds())})
			return err
		})
		if err != nil {
			a.s.Logger.Debug("held senders not fetched", "err", err)
			if !sleep(ctx, heldPause) {
				return
			}
			continue
		}
		known = known[:0]
		for _, h := range held.Senders {
			known = append(known, h.Pubkey)
		}
		a.update(held.Senders)
	}
}

func (a *asking) update(held []protocol.HeldSender) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = held
	if a.cancel != nil && !a.waitsLocked(a.open) {
		a.cancel()
	}
	a.wakeLocked()
}

func (a *asking) wakeLocked() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *asking) waitsLocked(id string) bool {
	for _, h := range a.held {
		if senderID(h) == id {
			return true
		}
	}
	return false
}

func senderID(h protocol.HeldSender) string { return h.Mesh + "/" + h.Pubkey }

// dialogs asks about one sender after the other.
func (a *asking) dialogs(ctx context.Context) {
	for ctx.Err() == nil {
		h, ok := a.next()
		if !ok {
			select {
			case <-a.wake:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		res, err := a.dialog(ctx, h)
		switch {
		case err == nil && res.Action == "cancel" && time.Since(began) < askTooFast:
			a.again(ctx, h)
		case err == nil && agreed(res) && !a.accept(ctx, h):
			a.again(ctx, h) // the user's word is not lost for good: he sees that it was not done
		case err == nil:
			a.tried(h, askTries)
		case errors.Is(err, context.Canceled): // somebody else decided, or the session ends
		default:
			a.s.Logger.Debug("user not asked", "sender", h.Name, "err", err)
			if _, answered := errors.AsType[*jsonrpc.Error](err); answered {
				a.tried(h, askTries) // the client does not ask
			} else {
				a.again(ctx, h) // the question may never have reached it
			}
		}
	}
}

// next is the sender to ask about now.
func (a *asking) next() (protocol.HeldSender, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.held {
		if n, before := a.asked[senderID(h)]; n < askTries && (before || len(a.asked) < askMost) {
			return h, true
		}
	}
	return protocol.HeldSender{}, false
}

func (a *asking) tried(h protocol.HeldSender, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[senderID(h)] += n
}

// again counts a try and waits for the next.
func (a *asking) again(ctx context.Context, h protocol.HeldSender) {
	a.tried(h, 1)
	sleep(ctx, askAgain)
}

// dialog shows one dialog, and takes it away when ctx ends or the sender is held no more.
func (a *asking) dialog(ctx context.Context, h protocol.HeldSender) (*sdk.ElicitResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	a.open, a.cancel = senderID(h), cancel
	if !a.waitsLocked(a.open) {
		cancel()
	}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.open, a.cancel = "", nil
		a.mu.Unlock()
	}()
	res, err := a.elicit(ctx, dialogAbout(h))
	if ctx.Err() != nil {
		return nil, context.Canceled
	}
	return res, err
}

// accept does what the user agreed to, through a restart of the daemon too. It reports whether that was done.
func (a *asking) accept(ctx context.Context, h protocol.HeldSender) bool {
	for range 5 {
		err := a.s.Mesh.Accept(ctx, h.Mesh, h.Pubkey)
		if err == nil {
			return true
		}
		a.s.Logger.Warn("accepted sender still held", "sender", h.Name, "err", err)
		if protocol.CodeOf(err) != protocol.CodeUnavailable || !sleep(ctx, heldPause) {
			return false
		}
	}
	return false
}

// dialogAbout says who waits, and nothing that the sender wrote: the name obeys the rules of names, the rest is ours.
func dialogAbout(h protocol.HeldSender) *sdk.ElicitParams {
	who, mesh := name(h.Name), name(h.Mesh)
	waiting := "1 message waits"
	if h.Messages != 1 {
		waiting = fmt.Sprintf("%d messages wait", h.Messages)
	}
	return &sdk.ElicitParams{
		Mode: "form",
		Message: fmt.Sprintf("A sender is held: %s on %s (%s).\nWhy: %s.\nFingerprint of the key: %s\n%s, and the model has seen nothing of it.",
			who, mesh, h.Trust, text(h.Why), text(h.Fingerprint), waiting),
		RequestedSchema: map[string]any{
			"type": "object", "required": []string{"answer"},
			"properties": map[string]any{"answer": map[string]any{
				"type": "string", "title": fmt.Sprintf("Type %s to let %s in", acceptWord, who),
				"description": fmt.Sprintf("What %s writes then reaches the model, now and later, in all your sessions on %s. Anything else leaves it held.", who, mesh),
			}},
		},
	}
}

func agreed(res *sdk.ElicitResult) bool {
	answer, _ := res.Content["answer"].(string)
	return res.Action == "accept" && strings.EqualFold(strings.TrimSpace(answer), acceptWord)
}
