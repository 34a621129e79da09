package mcp

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

// Mesh is what the server needs of the daemon. Every method may fail with a *protocol.Error; CodeUnavailable means that no daemon answers.
type Mesh interface {
	Register(ctx context.Context, r protocol.SessionRequest) (protocol.SessionInfo, error)
	PeersFor(ctx context.Context, session, mesh string) ([]protocol.PeerInfo, error)
	MembersFor(ctx context.Context, session, mesh string) ([]protocol.MemberInfo, error)
	Send(ctx context.Context, r protocol.SendRequest) (protocol.SendResult, error)
	Take(ctx context.Context, r protocol.TakeRequest) (protocol.TakeReply, error)
	Open(ctx context.Context, r protocol.OpenRequest) (protocol.InboxMessage, error)
	// Stage hands a file of the project over, unless it is one that only the user sends, and returns its id for SendRequest.Files.
	Stage(ctx context.Context, project, path string) (id string, err error)
	// SaveFile saves file n, from 1 on, of a message and returns the path.
	SaveFile(ctx context.Context, session, id string, n int, info protocol.FileInfo) (path string, err error)
	Settle(ctx context.Context, r protocol.SettleRequest) error
	Presence(ctx context.Context, r protocol.PresenceRequest) error
	Held(ctx context.Context, r protocol.HeldRequest) (protocol.HeldReply, error)
	Accept(ctx context.Context, mesh, peer string) error // only at the user's own word
	Ask(ctx context.Context, r protocol.AskRequest) (protocol.AskReply, error)
	Recall(ctx context.Context, r protocol.RecallRequest) (protocol.RecallReply, error)
	Remember(ctx context.Context, r protocol.RememberRequest) (protocol.RememberReply, error)
	KnowledgeRequests(ctx context.Context) ([]protocol.KnowledgeAsk, error)
	DecideKnowledge(ctx context.Context, id string, d protocol.KnowledgeDecision) (protocol.KnowledgeAsk, error) // only at the user's own word
}

// Config is a server's surroundings.
type Config struct {
	Mesh    Mesh
	Version string
	Session protocol.SessionRequest // who this child belongs to; ID empty: a client that names no session
	Inbox   Inbox                   // the session's own inbox socket; the zero value: there is none
	Channel bool                    // offer channel notifications as a second rung
	Logger  *slog.Logger            // never to stdout: that carries the protocol
}

// revisions of the protocol that we speak. Claude Code takes no channel from a server that answers a newer one.
var revisions = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// Serve speaks MCP on in and out until in ends or ctx does. It returns nil when the client hung up.
func Serve(ctx context.Context, c Config, in io.ReadCloser, out io.WriteCloser) error {
	locked := newLockedWriter(out)
	return serve(ctx, c, &sdk.IOTransport{Reader: newLines(in, locked), Writer: locked, MaxLineLength: -1}, func(ctx context.Context) bool { return Drained(ctx, out) })
}

// serve speaks on a transport. Drained waits until the client has read what was written to it.
func serve(ctx context.Context, c Config, transport sdk.Transport, drained func(context.Context) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	s := newServer(c)
	s.life, s.drained = ctx, drained
	channel := &channelTransport{Transport: transport, answers: s.answers}
	srv := s.build()

	var mail sync.WaitGroup
	if s.Session.ID != "" {
		mail.Go(func() { s.deliver(ctx, channel) })
		mail.Go(func() { s.ask(ctx) })
	}
	err := srv.Run(ctx, channel)
	cancel()
	mail.Wait()
	s.answers.work.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// server is one running server.
type server struct {
	Config
	initialized chan struct{} // closed when the client is ready for notifications
	once        sync.Once
	client      *sdk.ServerSession       // set before initialized is closed
	unsaid      []protocol.SettleRequest // what the daemon did not hear of posted mail, for deliver alone
	answers     *answers
	life        context.Context                // ends when the client hung up
	drained     func(ctx context.Context) bool // waits until the client has read what was written to it

	mu         sync.Mutex
	registered bool              // by this child, with a daemon that has not been away since
	current    string            // id of the session since it registered
	asked      map[string]string // text of the questions that were asked here, by id
}

func newServer(c Config) *server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{Config: c, initialized: make(chan struct{}), asked: make(map[string]string)}
	s.answers = newAnswers(s)
	return s
}

func (s *server) build() *sdk.Server {
	caps := &sdk.ServerCapabilities{}
	if s.Channel {
		caps.Experimental = map[string]any{"claude/channel": map[string]any{}}
	}
	srv := sdk.NewServer(&sdk.Implementation{Name: "claudemesh", Title: "claudemesh", Version: cmp.Or(s.Version, "dev")}, &sdk.ServerOptions{
		Instructions:              instructions,
		Capabilities:              caps,
		SupportedProtocolVersions: revisions,
		InitializedHandler: func(_ context.Context, req *sdk.InitializedRequest) {
			s.once.Do(func() {
				s.client = req.Session
				close(s.initialized)
			})
		},
	})
	s.addTools(srv)
	return srv
}

// register makes sure that the daemon knows the session. It is cheap when it does.
func (s *server) register(ctx context.Context) error {
	if s.Session.ID == "" {
		return nil
	}
	s.mu.Lock()
	known := s.registered
	s.mu.Unlock()
	if known {
		return nil
	}
	info, err := s.Mesh.Register(ctx, s.request())
	if err != nil {
		return err
	}
	s.adopt(info)
	return nil
}

// request is how the session registers. A child is not told when its session goes on under another id, so it follows.
func (s *server) request() protocol.SessionRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.Session
	r.ID, r.Follow = cmp.Or(s.current, r.ID), true
	return r
}

// session is the id that the session has now.
func (s *server) session() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.current, s.Session.ID)
}

func (s *server) adopt(info protocol.SessionInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registered, s.current = true, info.ID
	s.Session.Groups = nil // joined once: what the user leaves later stays left
}

// forget notes that the daemon went away or does not know the session: register again before the next call.
func (s *server) forget() {
	s.mu.Lock()
	s.registered = false
	s.mu.Unlock()
}

// withSession runs call for the registered session, once more if the daemon had forgotten it.
func (s *server) withSession(ctx context.Context, call func() error) error {
	for attempt := 0; ; attempt++ {
		if err := s.register(ctx); err != nil {
			return err
		}
		err := call()
		switch protocol.CodeOf(err) {
		case protocol.CodeUnavailable:
			s.forget()
			return err
		case protocol.CodeUnknownSession:
			s.forget()
			if attempt == 0 {
				continue
			}
		}
		return err
	}
}
