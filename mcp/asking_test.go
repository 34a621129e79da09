package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

func held(name string) protocol.HeldSender {
	return protocol.HeldSender{
		Mesh: "acme", Name: name, Pubkey: "key-of-" + name, Fingerprint: "12345 67890", Trust: protocol.TrustInvited, Why: "the sender holds a link", Messages: 2,
	}
}

// user is somebody in front of a client with dialogs.
type user struct {
	asked   chan *sdk.ElicitParams
	answers chan *sdk.ElicitResult
	closed  chan bool // by the server, before there was an answer
}

func newUser() *user {
	return &user{make(chan *sdk.ElicitParams, 10), make(chan *sdk.ElicitResult), make(chan bool, 10)}
}

func (u *user) options() *sdk.ClientOptions {
	return &sdk.ClientOptions{ElicitationHandler: func(ctx context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
		u.asked <- r.Params
		select {
		case a := <-u.answers:
			return a, nil
		case <-ctx.Done():
			u.closed <- true
			return nil, ctx.Err()
		}
	}}
}

func (u *user) want(t *testing.T, part string) *sdk.ElicitParams {
	t.Helper()
	select {
	case p := <-u.asked:
		if !strings.Contains(p.Message, part) {
			t.Fatalf("the dialog says %q, want %q in it", p.Message, part)
		}
		return p
	case <-time.After(10 * time.Second):
		t.Fatalf("no dialog about %s", part)
		return nil
	}
}

func typed(text string) *sdk.ElicitResult {
	return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"answer": text}}
}

// The user is asked about each held sender once, one after the other; only his typed word lets one in.
func TestUserIsAskedAboutHeldSenders(t *testing.T) {
	f, u := newFakeMesh(), newUser()
	f.held = []protocol.HeldSender{held("bob"), held("cathy")}
	cs := runWith(t, alice(f), u.options())
	dialog := u.want(t, "bob on acme (invited)")
	for _, part := range []string{"the sender holds a link", "12345 67890", "2 messages wait"} {
		if !strings.Contains(dialog.Message, part) {
			t.Errorf("the dialog lacks %q: %s", part, dialog.Message)
		}
	}
	if res, _ := call(t, cs, "list_peers", nil); res.IsError {
		t.Errorf("a tool does not work while a dialog is open: %v", errorText(res))
	}
	u.answers <- typed(" Accept ")
	if got := <-f.accepted; got != "acme/key-of-bob" {
		t.Errorf("accepted %s", got)
	}
	u.want(t, "cathy on acme")
	u.answers <- typed("please fix the build") // what he was typing when the dialog opened
	f.change(func() { f.held = append(f.held, held("dan"), held("erin")) })
	u.want(t, "dan on acme")
	u.answers <- &sdk.ElicitResult{Action: "decline"}
	u.want(t, "erin on acme")
	f.change(func() { f.held[0].Messages++ })
	u.answers <- &sdk.ElicitResult{Action: "accept"} // a client that leaves out the form
	f.change(func() { f.held = append(f.held, held("fred")) })
	u.want(t, "fred on acme") // and nobody for a second time before
	u.answers <- typed("yes")
	select {
	case got := <-f.accepted:
		t.Errorf("%s was accepted", got)
	case p := <-u.asked:
		t.Errorf("asked again: %s", p.Message)
	case <-time.After(50 * time.Millisecond):
	}
}

// Somebody else decides while the dialog is open: it goes away.
func TestDialogGoesWhenTheSenderIsHeldNoMore(t *testing.T) {
	f, u := newFakeMesh(), newUser()
	f.held = []protocol.HeldSender{held("bob")}
	runWith(t, alice(f), u.options())
	u.want(t, "bob on acme")
	f.Accept(t.Context(), "acme", "key-of-bob")
	<-f.accepted
	<-u.closed
	f.change(func() { f.held = []protocol.HeldSender{held("cathy")} })
	u.want(t, "cathy on acme")
	u.answers <- typed(acceptWord)
	if got := <-f.accepted; got != "acme/key-of-cathy" {
		t.Errorf("accepted %s", got)
	}
}

func TestClientWithoutDialogsIsNotAsked(t *testing.T) {
	f := newFakeMesh()
	f.held = []protocol.HeldSender{held("bob")}
	s := newServer(alice(f))
	server, client := sdk.NewInMemoryTransports()
	srv := s.build()
	go srv.Run(t.Context(), server)
	cs, err := sdk.NewClient(&sdk.Implementation{Name: "test"}, nil).Connect(t.Context(), client, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cs.Close()
	s.ask(t.Context()) // returns
}

// The words of a dialog come from us; a name that breaks the rules of names cannot add to them.
func TestDialogIsSafe(t *testing.T) {
	h := held("bob\n\nType accept to continue <b>\x1b[2J\u202e" + strings.Repeat("x", 100))
	h.Mesh, h.Why = "acme\nfine", "because\x1b[2J"
	p := dialogAbout(h)
	form, err := json.Marshal(p.RequestedSchema)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(p.Message, "\n"); n != 3 {
		t.Errorf("%d lines: %q", n+1, p.Message)
	}
	for _, s := range []string{p.Message, string(form)} {
		if strings.ContainsAny(s, "<>\x1b\u202e") || strings.Contains(s, strings.Repeat("x", 65)) || strings.Contains(s, `\n`) {
			t.Errorf("unsafe: %q", s)
		}
	}
}

// A client that cannot ask cancels at once: it is asked again, a few times. A person who puts the dialog away is not.
func TestCancelledDialogs(t *testing.T) {
	for _, c := range []struct {
		reads time.Duration
		want  int
	}{{0, askTries}, {3 * time.Second, 1}} {
		synctest.Test(t, func(t *testing.T) {
			f, dialogs := newFakeMesh(), 0
			f.registered[alice(f).Session.ID] = true
			f.held = []protocol.HeldSender{held("bob")}
			a := newAsking(newServer(alice(f)), func(context.Context, *sdk.ElicitParams) (*sdk.ElicitResult, error) {
				dialogs++
				time.Sleep(c.reads)
				return &sdk.ElicitResult{Action: "cancel"}, nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			a.run(ctx)
			if dialogs != c.want {
				t.Errorf("cancelled after %v: %d dialogs, want %d", c.reads, dialogs, c.want)
			}
		})
	}
}

// A question that may not have reached the client, and a word of the user's that could not be carried out, do not count as
// asked: the user is asked again.
func TestDialogThatFailedIsShownAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		errs   []error // of the dialogs
		accept []error // of the daemon
		want   int     // dialogs
	}{
		{"the client reads nothing", []error{errors.New("write: broken pipe"), nil}, nil, 2},
		{"never", []error{io.ErrClosedPipe, io.ErrClosedPipe, io.ErrClosedPipe, io.ErrClosedPipe, io.ErrClosedPipe}, nil, askTries},
		{"the disk was full", []error{nil, nil}, []error{protocol.Refuse(protocol.CodeStoreFull, "the disk is full")}, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, dialogs := newFakeMesh(), 0
			f.registered[alice(f).Session.ID] = true
			f.held, f.acceptErrs = []protocol.HeldSender{held("bob")}, c.accept
			a := newAsking(newServer(alice(f)), func(context.Context, *sdk.ElicitParams) (*sdk.ElicitResult, error) {
				dialogs++
				return typed(acceptWord), c.errs[dialogs-1]
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			a.run(ctx)
			if dialogs != c.want {
				t.Errorf("%s: %d dialogs, want %d", c.name, dialogs, c.want)
			}
			if c.name != "never" && len(f.accepted) != 1 {
				t.Errorf("%s: the sender is still held", c.name)
			}
		})
	}
}

// A swarm of senders opens a bounded number of dialogs, and a client that refuses to ask is left alone.
func TestDialogsAreBounded(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{{nil, askMost}, {&jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "method not found"}, askMost}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeMesh()
			f.registered[alice(f).Session.ID] = true
			for i := range 3 * askMost {
				f.held = append(f.held, held(fmt.Sprintf("bob%d", i)))
			}
			var mu sync.Mutex
			dialogs := map[string]int{}
			a := newAsking(newServer(alice(f)), func(_ context.Context, p *sdk.ElicitParams) (*sdk.ElicitResult, error) {
				mu.Lock()
				dialogs[p.Message]++
				mu.Unlock()
				return &sdk.ElicitResult{Action: "decline"}, c.err
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			a.run(ctx)
			if len(dialogs) != c.want {
				t.Errorf("%d dialogs, want %d", len(dialogs), c.want)
			}
			for message, n := range dialogs {
				if n != 1 {
					t.Errorf("%d times: %s", n, message)
				}
			}
		})
	}
}
