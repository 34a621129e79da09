package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	waitPoll    = 25 * time.Second // one request at the daemon
	waitPatient = 15 * time.Second // for the session to be registered by the hook that starts beside this one
	waitMost    = 4                // messages that one wake brings
)

// waitForMail holds a long poll open until there is mail that nothing better brings, and wakes the session with it. It ends when a newer waiter
// comes, when the session ends, and when the program that started it is gone.
func (c *call) waitForMail(ctx context.Context, cl *client.Client, in *hookEvent) error {
	if unattended() {
		return nil
	}
	began, parent := time.Now(), os.Getppid()
	req := protocol.TakeRequest{
		Session: in.SessionID, Rung: protocol.RungRewake, WaitMS: int(waitPoll.Milliseconds()), Max: waitMost, Waiter: began.UnixNano(),
	}
	for pause := 250 * time.Millisecond; os.Getppid() == parent; {
		mail, err := cl.Take(ctx, req)
		switch code := protocol.CodeOf(err); {
		case ctx.Err() != nil, mail.Replaced:
			return nil
		case code == protocol.CodeUnknownSession && time.Since(began) > waitPatient:
			return err // it ended
		case err != nil: // the daemon is away: come back
			if !pauseFor(ctx, pause) {
				return nil
			}
			pause = min(2*pause, 8*time.Second)
			continue
		case len(mail.Messages) > 0:
			return c.wake(ctx, cl, mail.Messages, in.SessionID)
		}
		pause = 250 * time.Millisecond
	}
	return nil
}

// unattended says that the session runs one prompt and ends (claude -p): it would wait for its background hooks, and there is nothing to wake.
func unattended() bool {
	return os.Getenv("CLAUDE_CODE_SESSION_ATTENDED") == "0" || strings.HasPrefix(os.Getenv("CLAUDE_CODE_ENTRYPOINT"), "sdk")
}

// wake prints the mail and returns the exit status that brings it in front of the model. The prompt hook proves that it was
// shown. A waiter that cannot write wakes nobody.
func (c *call) wake(ctx context.Context, cl *client.Client, messages []protocol.InboxMessage, session string) error {
	within, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	state, whole := handOver(within, c.stderr, hookMail(messages)+"\n")
	if state == protocol.SettleShown {
		state = protocol.SettlePushed
	}
	err := settleMail(ctx, cl, session, protocol.RungRewake, state, messages)
	if whole {
		return errors.Join(exitStatus(hookWoken), err)
	}
	return err
}

func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
