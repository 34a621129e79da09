// Package demo plays the whole system on one machine, narrated and checked: a broker and two daemons
// as processes of their own, with a tap on the broker's wire.
package demo

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// demoTimeout ends a demo that hangs; it takes a few seconds.
const demoTimeout = time.Minute

// Screen is where the demo is told.
type Screen struct {
	Say   func(format string, args ...any) // a line of the story
	Note  func(format string, args ...any) // what went wrong beside it
	Title func(s string) string            // as a scene's title stands out
	Good  func(s string) string            // as good news stand out
	Span  func(time.Duration) string       // as people say it

	Version string // of this executable
}

// Run plays all scenes and ends with an error as soon as something differs from what it tells.
func Run(ctx context.Context, screen Screen) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	s, err := newStage(screen)
	if err != nil {
		return err
	}
	defer s.close()
	for i, scene := range scenes {
		s.Say("\n%s", s.Title(fmt.Sprintf("%d. %s", i+1, scene.title)))
		if err := scene.play(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", scene.title, err)
		}
	}
	s.Say("\n%s in %s", s.Good("everything held"), s.Span(time.Since(began)))
	return nil
}

// scene is one part of the story. It narrates through the stage and returns an error when something differs from what it tells.
type scene struct {
	title string
	play  func(ctx context.Context, s *stage) error
}

var scenes = []scene{
	{"a broker, and a tap on its wire", playBroker},
	{"alice makes a mesh", playCreate},
	{"bob joins with a link", playJoin},
	{"alice writes to bob", playSend},
	{"bob goes off, alice goes on writing", playOffline},
	{"bob comes back", playReturn},
	{"two Claude sessions talk", playSessions},
	{"alice solved it two weeks ago; bob's machine asks", playMemory},
	{"what the broker could have read", playSearch},
}

const (
	firstText = "the nightly build is green since Tuesday"
	laterText = "while bob was away, part "
)

func playBroker(ctx context.Context, s *stage) error {
	if err := s.startBroker(ctx); err != nil {
		return err
	}
	s.tell("it relays and stores; a proxy in front of it records every byte of %s", s.tap.addr())
	for _, name := range []string{"alice", "bob"} {
		if err := s.startDaemon(ctx, name); err != nil {
			return err
		}
	}
	s.tell("alice and bob have a daemon each: %d processes in all", 3)
	return nil
}

func playCreate(ctx context.Context, s *stage) error {
	if err := s.run(ctx, nil, "alice", "create", "demo", "--broker", "ws://"+s.tap.addr(), "--name", "alice", "--token-file", s.tokenFile(), "--json"); err != nil {
		return err
	}
	s.tell("the mesh's id is the hash of a charter that alice's owner key signed: nobody can swap the owner")
	return nil
}

func playJoin(ctx context.Context, s *stage) error {
	var link protocol.InviteInfo
	if err := s.run(ctx, &link, "alice", "invite", "--json"); err != nil {
		return err
	}
	s.link = link.Link
	s.tell("alice's link: %s… (%d characters, one use)", link.Link[:min(40, len(link.Link))], len(link.Link))
	if err := s.run(ctx, nil, "bob", "join", link.Link, "--name", "bob", "--json"); err != nil {
		return err
	}
	var members []protocol.MemberInfo
	err := s.until(ctx, "bob is verified by alice", func() (bool, error) {
		if err := s.run(ctx, &members, "bob", "members", "--json"); err != nil {
			return false, err
		}
		verified := 0
		for _, m := range members {
			if m.Trust == protocol.TrustVerified {
				verified++
			}
		}
		return verified == 2, nil
	})
	if err != nil {
		return err
	}
	s.tell("alice's daemon counted the link and signed bob's certificate: both see alice and bob as verified")
	return nil
}

func playSend(ctx context.Context, s *stage) error {
	var res protocol.SendResult
	if err := s.run(ctx, &res, "alice", "send", "bob", firstText, "--wait", "5s", "--json"); err != nil {
		return err
	}
	if err := wantDelivered(res); err != nil {
		return err
	}
	s.tell("delivered, and bob's own signature proves it")
	got, err := s.read(ctx, "bob", 1)
	if err != nil {
		return err
	}
	if got[0].Body != firstText || got[0].From.Name != "alice" || got[0].From.Trust != protocol.TrustVerified {
		return fmt.Errorf("bob read %q from %s (%s)", got[0].Body, got[0].From.Name, got[0].From.Trust)
	}
	sealed, ok := s.tap.sealed(res.ID)
	if !ok {
		return fmt.Errorf("the tap did not see message %s on the wire", res.ID)
	}
	s.tell("alice wrote     %q", firstText)
	s.tell("the broker saw  %s… (%d characters)", sealed[:min(len(sealed), 60)], len(sealed))
	s.tell("bob read        %q, from alice (verified)", got[0].Body)
	return nil
}

func playOffline(ctx context.Context, s *stage) error {
	if err := s.stopDaemon("bob"); err != nil {
		return err
	}
	for i := 1; i <= 3; i++ {
		var res protocol.SendResult
		if err := s.run(ctx, &res, "alice", "send", "bob", fmt.Sprint(laterText, i), "--wait", "5s", "--require", "queued", "--json"); err != nil {
			return err
		}
		if res.State != protocol.StateQueued {
			return fmt.Errorf("message %d is %s, not queued", i, res.State)
		}
		s.sent = append(s.sent, res.ID)
	}
	s.tell("three messages are queued on the broker's disk, and alice is told just that")
	return nil
}

func playReturn(ctx context.Context, s *stage) error {
	if err := s.startDaemon(ctx, "bob"); err != nil {
		return err
	}
	got, err := s.read(ctx, "bob", 4)
	if err != nil {
		return err
	}
	for i, m := range got[1:] {
		if want := fmt.Sprint(laterText, i+1); m.Body != want {
			return fmt.Errorf("bob's message %d is %q, not %q", i+2, m.Body, want)
		}
	}
	s.tell("bob has all three, once each, in the order of writing")
	for _, id := range s.sent {
		var res protocol.SendResult
		err := s.until(ctx, "alice has the proof", func() (bool, error) {
			err := s.run(ctx, &res, "alice", "message", "status", id, "--json")
			return err == nil && wantDelivered(res) == nil, err
		})
		if err != nil {
			return err
		}
	}
	s.tell("alice's `message status` says delivered, proved by bob, for each")
	return nil
}

func wantDelivered(res protocol.SendResult) error {
	for _, r := range res.Recipients {
		if r.State.Rank() < protocol.StateDelivered.Rank() || r.State == protocol.StateDead || r.Proof != protocol.ProofPeer {
			return fmt.Errorf("%s is %s with proof %q, not delivered with bob's", r.Name, r.State, r.Proof)
		}
	}
	if len(res.Recipients) == 0 {
		return fmt.Errorf("message %s has no recipients", res.ID)
	}
	return nil
}

func playSearch(_ context.Context, s *stage) error {
	needles, err := s.secrets()
	if err != nil {
		return err
	}
	for _, i := range []string{"1", "2", "3"} {
		needles = append(needles, textNeedles(laterText+i)...)
	}
	for _, text := range []string{firstText, sessionQuestion, sessionAnswer, memoryQuestion, solvedPrompt, solvedFix, solvedSecret} {
		needles = append(needles, textNeedles(text)...)
	}
	haystacks, err := s.haystacks()
	if err != nil {
		return err
	}
	size := 0
	for _, h := range haystacks {
		size += len(h.data)
		for _, n := range needles {
			if strings.Contains(h.data, n.text) {
				return fmt.Errorf("%s stands in %s", n.what, h.where)
			}
		}
	}
	// A search that could not find anything proves nothing: the recipient's certificate name does cross the wire.
	if !s.tap.contains("bob") {
		return fmt.Errorf("the tap recorded nothing to search in")
	}
	s.tell("the broker's disk, every byte on its wire and all logs: %d files and streams, %d KiB", len(haystacks), size>>10)
	s.tell("searched for every text and secret key, plain, in hex and in base64: none is there")
	return nil
}

// tell prints one line of the story.
func (s *stage) tell(format string, args ...any) { s.Say("   "+format, args...) }

// until asks again and again until done says yes, and fails when that takes too long.
func (s *stage) until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return protocol.Refuse(protocol.CodeTimeout, "it did not come about that %s", what)
		}
	}
}

// demoEnv is the environment of the demo's processes: nothing of the user's meshes or of a Claude session.
func demoEnv(home string) []string {
	env := []string{"CLAUDEMESH_CONFIG_DIR=" + home, "CLAUDE_CONFIG_DIR=" + transcripts(home), "NO_COLOR=1"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CLAUDEMESH_") && !strings.HasPrefix(v, "CLAUDE_CODE_") && !strings.HasPrefix(v, "CLAUDECODE=") && !strings.HasPrefix(v, "CLAUDE_CONFIG_DIR=") {
			env = append(env, v)
		}
	}
	return env
}
