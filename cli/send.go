package cli

import (
	"context"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

// How long `send` waits by itself, so that it can say more than "accepted": for the broker's word always, and for the
// recipient's only while he is online.
const (
	brokerPatience = 1500 * time.Millisecond
	peerPatience   = 2 * time.Second
)

func sendFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "priority", Usage: "`P` is now (interrupts), next (after the turn) or low (when asked for)", Value: protocol.PriorityNext},
		meshFlag(),
		&urfave.StringFlag{Name: "wait", Usage: "wait up to `TIME` for the state that --require names (default delivered)"},
		&urfave.StringFlag{Name: "require", Usage: "exit with 4 unless `STATE` is reached: accepted, queued, delivered, shown or read"},
		fileFlag(),
		sessionFlag(),
		jsonFlag(),
	}
}

func sendVerb() *verb {
	return &verb{
		name: "send", heading: headTalk, usage: "send a message to a member, a session, a group or everybody",
		args: "<to> <message…|->", min: 2, max: -1, instead: "file",
		flags: append(sendFlags(),
			&urfave.StringFlag{Name: "kind", Usage: "mark the message as a `WORD`, such as question"},
			&urfave.BoolFlag{Name: "ask", Usage: "wait for the answer and print it; exit with 4 if none comes in time"},
			&urfave.StringFlag{Name: "timeout", Usage: "with --ask: wait at most `TIME`", Value: "60s"},
		),
		about: `<to> is a member (bob), one session (bob/api), a group (@backend), everybody (*), or a key of at least 6 hex digits.
The message is sealed on this machine and arrives as it was written. "-" reads it from stdin, where a single line loses
its newline and several lines keep theirs; beyond 64 KiB it goes as a file. --file sends files of up to 100 MiB, encrypted
as well: they are copied at once, and the message leaves when the broker holds them. The answer says how far it came:
accepted (on this disk), queued (on the broker's), delivered (on the recipient's), shown, read. It comes at once where the
broker or the recipient is away, and after at most a few seconds where they are there and slow; --wait waits longer.

--ask is a question and its answer in one command: the first answer of a verified member goes to stdout, exactly as it was
written, and who wrote it to stderr. The answer counts as read then. If none comes in time the exit code is 4; the question
stays sent, and a late answer is in the inbox.`,
		examples: []string{
			`claudemesh send bob "tests are green"`,
			`claudemesh send bob/api "which port?" --priority now --wait 10s`,
			`git diff | claudemesh send bob - --require delivered`,
			`claudemesh send bob --file report.pdf "see page 3"`,
			`claudemesh send bob "which port does staging use?" --ask --timeout 5m`,
			`claudemesh send bob -- --this-begins-with-a-dash`,
		},
		run: func(ctx context.Context, c *call) error {
			return c.send(ctx, protocol.SendRequest{To: c.arg(0), Kind: c.str("kind")}, 1)
		},
	}
}

func replyVerb() *verb {
	return &verb{
		name: "reply", heading: headTalk, usage: "answer a message of your inbox",
		args: "<id> <message…|->", min: 2, max: -1, instead: "file", flags: sendFlags(),
		examples: []string{`claudemesh reply 7HqX2a1b "yes, 8080"`},
		run: func(ctx context.Context, c *call) error {
			return c.send(ctx, protocol.SendRequest{ReplyTo: c.arg(0)}, 1)
		},
	}
}

// send completes the request with flags and the message, which begins at argument from, and reports how far it came.
func (c *call) send(ctx context.Context, req protocol.SendRequest, from int) error {
	wait, require, err := c.sendFlags(&req)
	if err != nil {
		return err
	}
	patience, err := c.askFlags()
	if err != nil {
		return err
	}
	l, err := c.letter(from)
	if err != nil {
		return err
	}
	req.Body = l.body
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if req.Session, err = c.acting(ctx, cl); err != nil {
		return err
	}
	if req.Files, err = c.hand(ctx, cl, l); err != nil {
		return err
	}
	began := time.Now()
	req.ClientID = protocol.NewClientID()
	if patience > 0 {
		return c.sendAndAsk(ctx, cl, req, patience)
	}
	res, err := sendAndWait(ctx, cl, req, wait, require)
	if err != nil {
		return err
	}
	return c.sent(c.watchUpload(ctx, cl, res), began, require)
}

func (c *call) sendFlags(req *protocol.SendRequest) (wait time.Duration, require protocol.State, err error) {
	if req.Priority, err = c.oneOf("priority"); err != nil {
		return 0, "", err
	}
	word, err := c.oneOf("require")
	if err != nil {
		return 0, "", err
	}
	req.Mesh = c.str("mesh")
	wait, err = c.duration("wait")
	return wait, protocol.State(word), err
}

// askFlags returns how long to wait for an answer; 0: nobody asked for one.
func (c *call) askFlags() (time.Duration, error) {
	if !c.yes("ask") {
		return 0, nil
	}
	if c.str("wait") != "" || c.str("require") != "" {
		return 0, protocol.Refuse(protocol.CodeInvalid, "--ask waits for the answer, not for a state").WithHint("leave --wait and --require away; --timeout says how long to wait")
	}
	patience, err := c.duration("timeout")
	if err == nil && patience <= 0 {
		err = protocol.Refuse(protocol.CodeInvalid, "--timeout must be more than 0")
	}
	return patience, err
}

// sendAndWait hands the message to the daemon. Repeating the request with the same client id does not send again: it
// waits for the next state.
func sendAndWait(ctx context.Context, cl *client.Client, req protocol.SendRequest, wait time.Duration, require protocol.State) (protocol.SendResult, error) {
	if wait > 0 || require != "" {
		if wait == 0 {
			wait = brokerPatience + peerPatience
		}
		req.WaitFor, req.WaitMS = require, int(wait.Milliseconds())
		if require == "" {
			req.WaitFor = protocol.StateDelivered
		}
		return cl.Send(ctx, req)
	}
	req.WaitFor, req.WaitMS = protocol.StateQueued, int(brokerPatience.Milliseconds())
	res, err := cl.Send(ctx, req)
	if err != nil || !worthWaiting(res) {
		return res, err
	}
	req.WaitFor, req.WaitMS = protocol.StateDelivered, int(peerPatience.Milliseconds())
	return cl.Send(ctx, req)
}

// worthWaiting tells whether somebody who is online has a queued message before him.
func worthWaiting(res protocol.SendResult) bool {
	for _, r := range res.Recipients {
		if r.Online && r.State == protocol.StateQueued {
			return true
		}
	}
	return false
}

// sent prints what became of a message, and fails with code 4 when that is less than was required.
func (c *call) sent(res protocol.SendResult, began time.Time, require protocol.State) error {
	short := shortOf(res, require)
	if c.json {
		if short != nil {
			c.printJSON(failedSend{SendResult: res, OK: false, Error: *errorBody(short)})
			return saidError{short}
		}
		c.printJSON(res)
		return nil
	}
	for _, l := range sentLines(res, began, time.Now()) {
		c.say("%s", l)
	}
	for _, l := range append(sentFileLines(res), answerLines(res.Recipients)...) {
		c.say("    %s", l)
	}
	if short != nil {
		return short
	}
	return nil
}

// shortOf is why a message did not come as far as it should have: not to the required state, or not off this machine although
// nothing but a person's act gets it off. Nil: it did.
func shortOf(res protocol.SendResult, require protocol.State) *protocol.Error {
	if res.State == protocol.StateAccepted && needsYou(res.Waits) {
		return notLeaving(res.Waits)
	}
	if require == "" || res.State.Rank() >= require.Rank() && res.State != protocol.StateDead {
		return nil
	}
	e := protocol.Refuse(protocol.CodeTimeout, "%s, not %s", res.State, require)
	if res.Waits != nil {
		e.Message += ": " + res.Waits.Message
	}
	return e.WithHint("claudemesh message status %s tells when it is", shortID(res.ID))
}

// notLeaving is the error of a message that is kept, and goes out only when somebody has done something.
func notLeaving(waits *protocol.ErrorBody) *protocol.Error {
	r := refusals[waits.Code]
	return protocol.Refuse(waits.Code, "the message is kept and does not leave: %s", r.sentence).WithHint("%s", r.next)
}

// failedSend is a SendResult that did not reach the required state.
type failedSend struct {
	protocol.SendResult
	OK    bool               `json:"ok"`
	Error protocol.ErrorBody `json:"error"`
}
