package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

// listenGrace is how long programs may go on after listen was told to end.
const listenGrace = 5 * time.Second

func listenVerb() *verb {
	return &verb{
		name: "listen", heading: headTalk, usage: "run a program for each message that arrives",
		args: "[<argument>…]", min: 0, max: -1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "exec", Usage: "the `PROGRAM` to run, with the arguments that are given"},
			&urfave.StringFlag{Name: "from", Usage: "only for messages of the member `NAME`"},
			&urfave.StringFlag{Name: "kind", Usage: "only for messages that are marked as a `WORD`, such as question"},
			&urfave.BoolFlag{Name: "reply", Usage: "send what the program prints as the answer"},
			&urfave.IntFlag{Name: "jobs", Usage: "run at most `N` programs at a time", Value: 1},
			&urfave.StringFlag{Name: "timeout", Usage: "end a program that runs longer than `TIME`", Value: "10m"},
			meshFlag(), sessionFlag(),
		},
		about: `The text of the message goes to the program's stdin, byte for byte. No shell sees it, and it is in no argument. What is
known of the message is in the environment: CLAUDEMESH_ID, CLAUDEMESH_MESH, CLAUDEMESH_FROM, CLAUDEMESH_FROM_SESSION,
CLAUDEMESH_FROM_PUBKEY, CLAUDEMESH_TO, CLAUDEMESH_KIND, CLAUDEMESH_PRIORITY, CLAUDEMESH_REPLY_TO, CLAUDEMESH_TOPIC.

Only messages of verified members are handed over; held messages and alarms are not. What no person has read yet comes
first, oldest first. A message is marked as read when the program ends with 0 and, with --reply, its answer is on this
machine's disk. Otherwise it stays unread: it is handed over again when listen is started again, not before.`,
		examples: []string{
			"claudemesh listen --exec ./deploy.sh --from alice",
			"claudemesh listen --exec uptime --kind question --reply",
			"claudemesh listen --exec ./handle -- --verbose",
		},
		run: runListen,
	}
}

// listener hands messages to a program.
type listener struct {
	*call
	cl      *client.Client
	session string
	path    string
	timeout time.Duration
	jobs    chan struct{} // a slot for each program that may run
	running sync.WaitGroup

	mu   sync.Mutex
	seen map[string]bool // keys of messages that were handed over, or passed by
}

func runListen(ctx context.Context, c *call) error {
	jobs, err := c.positive("jobs")
	if err != nil {
		return err
	}
	timeout, err := c.duration("timeout")
	if err != nil {
		return err
	}
	if c.str("exec") == "" {
		return protocol.Refuse(protocol.CodeInvalid, "--exec is missing: which program?").WithHint("claudemesh inbox --follow prints messages without a program")
	}
	path, err := exec.LookPath(c.str("exec"))
	if err != nil {
		return protocol.Refuse(protocol.CodeNotFound, "--exec: %v", err).WithHint("name the program by its path, such as ./answer.sh, and make it executable")
	}
	l := &listener{call: c, path: path, timeout: timeout, jobs: make(chan struct{}, jobs), seen: make(map[string]bool)}
	if l.cl, err = c.daemon(ctx); err != nil {
		return err
	}
	if l.session, err = c.acting(ctx, l.cl); err != nil {
		return err
	}
	defer l.running.Wait()
	return l.listen(ctx)
}

func (l *listener) listen(ctx context.Context) error {
	for e, err := range l.cl.Follow(ctx, client.EventQuery{Mesh: l.str("mesh"), Session: l.session}) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case e.Type == eventReady: // the first, or one after a restart of the daemon
			if err := l.waiting(ctx); err != nil {
				return err
			}
		case e.Message != nil:
			l.hand(ctx, e.Message)
		}
	}
	return nil
}

// waiting hands over what waits in the inbox, oldest first. The list has no texts, so that a full inbox takes little memory.
func (l *listener) waiting(ctx context.Context) error {
	var ids []string
	q := protocol.InboxQuery{Mesh: l.str("mesh"), Session: l.session, Unseen: true, Brief: true, Limit: wholeInbox}
	for m, err := range l.cl.Mail(ctx, q) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case l.wanted(&m):
			ids = append(ids, m.MessageID)
		}
	}
	for _, id := range slices.Backward(ids) {
		m, err := l.cl.InboxMessage(ctx, id)
		switch {
		case ctx.Err() != nil:
			return nil
		case protocol.CodeOf(err) == protocol.CodeNotFound: // deleted meanwhile
		case err != nil:
			return err
		default:
			l.hand(ctx, &m)
		}
	}
	return nil
}

// wanted tells whether the message is for the program.
func (l *listener) wanted(m *protocol.InboxMessage) bool {
	from, kind := l.str("from"), l.str("kind")
	return trusted(m) && m.Unseen && (from == "" || m.From.Name == from) && (kind == "" || m.Kind == kind)
}

// hand runs the program for a message, once, as soon as there is a slot.
func (l *listener) hand(ctx context.Context, m *protocol.InboxMessage) {
	if !l.wanted(m) || !l.first(m) {
		return
	}
	select {
	case l.jobs <- struct{}{}:
	case <-ctx.Done():
		return
	}
	l.running.Go(func() {
		defer func() { <-l.jobs }()
		if err := l.handle(ctx, m); err != nil {
			l.note("claudemesh: listen: %s of %s stays unread: %s", shortID(m.ID), clean(m.From.Name), clean(err.Error()))
		}
	})
}

// outlive returns a context that ends a while after ctx.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}

func (l *listener) first(m *protocol.InboxMessage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := messageKey(m)
	again := l.seen[key]
	l.seen[key] = true
	return !again
}

// handle runs the program, sends its output if that is the answer, and marks the message as read. What runs when ctx ends has
// listenGrace to finish.
func (l *listener) handle(ctx context.Context, m *protocol.InboxMessage) error {
	ctx, cancel := outlive(ctx, listenGrace)
	defer cancel()
	out, err := l.program(ctx, m)
	if err != nil {
		return err
	}
	if l.yes("reply") && len(out) > 0 {
		req := protocol.SendRequest{ReplyTo: m.MessageID, Body: out, Session: l.session, ClientID: protocol.NewClientID()}
		_, err := l.cl.Send(ctx, req) // marks what it answers as read
		return err
	}
	_, err = l.cl.MarkRead(ctx, protocol.InboxChange{IDs: []string{m.MessageID}, Mesh: m.Mesh, Session: l.session})
	return err
}

// program runs the program on the text and returns what it printed, if that is wanted. Its process group ends with it.
func (l *listener) program(ctx context.Context, m *protocol.InboxMessage) (string, error) {
	if l.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.timeout, fmt.Errorf("the program ran longer than %s", l.timeout))
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, l.path, l.args...)
	ownGroup(cmd)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), aboutMessage(m)...)
	cmd.Stdin = strings.NewReader(m.Body)
	cmd.Stdout, cmd.Stderr = l.stdout, l.stderr
	answer := &bounded{max: protocol.MaxBody}
	if l.yes("reply") {
		cmd.Stdout = answer
	}
	err := cmd.Run()
	killGroup(cmd)
	switch {
	case context.Cause(ctx) != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay): // something that it started has kept its output open
	case err != nil:
		return "", err
	case answer.more:
		return "", protocol.Refuse(protocol.CodePayloadTooLarge, "the program printed more than %d bytes", protocol.MaxBody)
	}
	return answerText(answer.Bytes()), nil
}

// answerText is output as a message: a single line loses its newline, several lines keep theirs.
func answerText(b []byte) string {
	if bytes.Count(b, []byte("\n")) == 1 {
		b = bytes.TrimSuffix(b, []byte("\n"))
	}
	return string(b)
}

// aboutMessage is the environment of the program. Values are the sender's words where they are; none has a NUL.
func aboutMessage(m *protocol.InboxMessage) []string {
	return []string{
		"CLAUDEMESH_ID=" + m.ID, "CLAUDEMESH_MESH=" + m.Mesh,
		"CLAUDEMESH_FROM=" + m.From.Name, "CLAUDEMESH_FROM_SESSION=" + m.From.Session, "CLAUDEMESH_FROM_PUBKEY=" + m.From.MemberPubkey,
		"CLAUDEMESH_TO=" + m.To, "CLAUDEMESH_KIND=" + m.Kind, "CLAUDEMESH_PRIORITY=" + m.Priority,
		"CLAUDEMESH_REPLY_TO=" + m.ReplyTo, "CLAUDEMESH_TOPIC=" + m.Topic,
	}
}

// bounded keeps the first max bytes that are written to it.
type bounded struct {
	bytes.Buffer
	max  int
	more bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.max - b.Len()
	if len(p) > room {
		b.more = true
	}
	b.Buffer.Write(p[:min(len(p), max(room, 0))])
	return len(p), nil
}
