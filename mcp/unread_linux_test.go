package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/protocol"
)

// client is alice's side of the tool server's stdin and stdout, which are pipes of the system.
type client struct {
	t     *testing.T
	in    *os.File // the server's stdin
	out   *os.File // the server's stdout
	lines *bufio.Reader
	done  chan error
}

// connect starts a server whose stdout holds no more than a page, and gets past initialize.
func connect(t *testing.T, f *fakeMesh) *client {
	t.Helper()
	serverIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, serverOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(out.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, in: in, out: out, lines: bufio.NewReader(out), done: make(chan error, 1)}
	go func() { c.done <- Serve(t.Context(), alice(f), serverIn, serverOut) }()
	t.Cleanup(func() {
		in.Close()
		out.Close()
		<-c.done
	})
	c.say(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
	if _, err := c.lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c
}

func (c *client) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) check() {
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"check_messages","arguments":{}}}`)
}

// written waits until there is something of the server's to be read.
func (c *client) written() {
	c.t.Helper()
	poll := []unix.PollFd{{Fd: int32(c.out.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			c.t.Fatalf("the server writes nothing: %v", err)
		}
		return
	}
}

func mailOf(n int) []protocol.InboxMessage {
	return []protocol.InboxMessage{{ID: "m1", Mesh: "acme", From: protocol.From{Name: "bob", Trust: "verified"}, Body: strings.Repeat("x", n)}}
}

// What check_messages returns is shown when alice's client has read it, and not before. Where it hangs, goes away, takes
// half, or does not want the answer any more, the message stays unread.
func TestPulledMailIsShownWhenItWasRead(t *testing.T) {
	for _, test := range []struct {
		name  string
		bytes int // of the message; the pipe holds 4096
		do    func(c *client, f *fakeMesh)
		want  string
	}{
		{"read", 100, func(c *client, f *fakeMesh) {
			c.check()
			c.written()
			if len(f.settled) != 0 {
				t.Error("shown before anybody read it")
			}
			c.lines.ReadString('\n')
		}, protocol.SettleShown},
		{"a client that stopped reading", 100, func(c *client, _ *fakeMesh) {
			c.check()
			c.written()
			c.out.Close()
		}, protocol.SettleUnproved},
		{"a client that went away", 100, func(c *client, _ *fakeMesh) {
			c.out.Close()
			c.check()
		}, protocol.SettleUnproved},
		{"half of it", 60 << 10, func(c *client, _ *fakeMesh) {
			c.check()
			io.CopyN(io.Discard, c.lines, 30<<10)
			c.out.Close()
		}, protocol.SettleUnproved},
		{"a call that was cancelled", 100, func(c *client, f *fakeMesh) {
			c.check()
			<-f.taking
			c.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
			c.say(`{"jsonrpc":"2.0","id":3,"method":"ping"}`) // its answer says that the line before was heard
			c.lines.ReadString('\n')
			f.taking <- struct{}{}
			go io.Copy(io.Discard, c.lines)
		}, protocol.SettleUnproved},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFakeMesh()
			f.mail = mailOf(test.bytes)
			if strings.Contains(test.name, "cancelled") {
				f.taking = make(chan struct{})
			}
			c := connect(t, f)
			test.do(c, f)
			if s := want(t, f.settled, "settled"); s.State != test.want || s.Rung != protocol.RungPull || s.IDs[0] != "m1" {
				t.Errorf("settled: %+v, want %s", s, test.want)
			}
		})
	}
}

// slowSocket is an inbox socket whose other end does what take does with each connection.
func slowSocket(t *testing.T, take func(net.Conn)) Inbox {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			take(c)
		}
	}()
	return Inbox{Path: filepath.Join(dir, "s"), Token: "secret"}
}

// A post is done when the session's process has read it. What it did not is not pushed, and known to be perhaps seen.
func TestInboxSocketThatTakesHalf(t *testing.T) {
	ended := make(chan struct{})
	defer close(ended)
	for _, test := range []struct {
		name    string
		take    func(net.Conn)
		bytes   int
		within  time.Duration
		notRead bool // it may be slow: the way is not given up
	}{
		{"closed at once", func(c net.Conn) { c.Close() }, 100, time.Minute, false},
		{"half", func(c net.Conn) { io.ReadFull(c, make([]byte, 60)); c.Close() }, 100, time.Minute, false},
		{"all but the end", func(c net.Conn) { io.ReadFull(c, make([]byte, 40<<10)); c.Close() }, 60 << 10, time.Minute, false},
		{"never read", func(c net.Conn) { <-ended; c.Close() }, 100, 50 * time.Millisecond, true},
		{"never read, and full", func(c net.Conn) { <-ended; c.Close() }, 300 << 10, time.Second, false},
	} {
		inbox := slowSocket(t, test.take)
		ctx, cancel := context.WithTimeout(t.Context(), test.within)
		begun, err := inbox.post(ctx, "s1", mailOf(test.bytes)[0])
		cancel()
		if err == nil || !begun && test.name != "closed at once" || errors.Is(err, errNotRead) != test.notRead {
			t.Errorf("%s: begun %v, %v", test.name, begun, err)
		}
	}
	f := newFakeMesh()
	c := alice(f)
	c.Inbox = slowSocket(t, func(c net.Conn) { io.ReadFull(c, make([]byte, 60)); c.Close() })
	run(t, c)
	f.change(func() { f.mail = append(mailOf(100), protocol.InboxMessage{ID: "m2", Body: "later"}) })
	if s := want(t, f.settled, "settled"); s.State != protocol.SettleUnproved || fmt.Sprint(s.IDs) != "[m1]" {
		t.Errorf("settled: %+v", s)
	}
	if s := want(t, f.settled, "settled"); s.State != protocol.SettleReturned || fmt.Sprint(s.IDs) != "[m2]" {
		t.Errorf("settled: %+v", s)
	}
}

// stuck is a connection on which nobody reads.
type stuck struct{ sdk.Connection }

func (stuck) Write(ctx context.Context, _ jsonrpc.Message) error { <-ctx.Done(); return ctx.Err() }

// A client that stopped reading does not hold up the other ways of delivery, and has not got the notification.
func TestChannelThatNobodyReads(t *testing.T) {
	channel := &channelTransport{conn: stuck{}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if begun, err := channel.push(ctx, mailOf(100)[0]); !begun || !errors.Is(err, errNotRead) {
		t.Errorf("begun %v, %v", begun, err)
	}
}
