package protocol

// SessionRequest is the body of POST /v1/sessions: a session of this machine registers, or registers again after the daemon came back.
type SessionRequest struct {
	ID      string   `json:"id"`             // of the agent's own session
	PID     int      `json:"pid"`            // the process that the session lives and dies with
	Cwd     string   `json:"cwd"`            //
	Name    string   `json:"name,omitempty"` // wanted label; default the base of Cwd
	Model   string   `json:"model,omitempty"`
	Title   string   `json:"title,omitempty"`
	Channel string   `json:"channel,omitempty"` // what kind of program: claude-code, shell
	Groups  []string `json:"groups,omitempty"`  // nil: as they were
	Bypass  *bool    `json:"bypass,omitempty"`  // runs without permission prompts: new senders are held; nil: not known, as it was
	Follow  bool     `json:"follow,omitempty"`  // the id may be an old one of the process: answer with the session that it has now
}

// SessionInfo is one live session, in GET /v1/sessions and as the answer to SessionRequest.
type SessionInfo struct {
	ID      string            `json:"id"`
	Label   string            `json:"label"`
	Cwd     string            `json:"cwd"`
	PID     int               `json:"pid"`
	Status  string            `json:"status"`
	Summary string            `json:"summary"`
	Groups  []string          `json:"groups"`
	Pubkey  string            `json:"pubkey"`
	Bypass  bool              `json:"bypass,omitempty"`
	Unread  int               `json:"unread"`
	Held    int               `json:"held"`
	Guarded []string          `json:"guarded,omitempty"` // why mail waits: a loop with a peer, a flood of messages
	Meshes  map[string]string `json:"meshes"`            // connection state by mesh
}

// The rungs of the delivery ladder: how a message comes in front of a session.
const (
	RungSocket  = "socket"  // the session's own inbox socket
	RungChannel = "channel" // a channel notification
	RungRewake  = "rewake"  // a background hook that wakes the session
	RungHook    = "hook"    // context added by a hook
	RungPull    = "pull"    // check_messages, inbox
)

// TakeRequest is the body of POST /v1/mail/take: a rung asks for what may be put in front of a session now. Each message is given to one rung, once. The answer
// waits up to WaitMS for the first one. What was taken and neither pushed nor returned within 30 s, or before a crash, is given again and marked so.
type TakeRequest struct {
	Session string `json:"session"`
	Rung    string `json:"rung"`
	WaitMS  int    `json:"wait_ms,omitempty"`
	Max     int    `json:"max,omitempty"`    // default 20
	Waiter  int64  `json:"waiter,omitempty"` // when the background hook began, Unix ns: one waits per session, the newest
}

// TakeReply answers it.
type TakeReply struct {
	Replaced bool           `json:"replaced,omitempty"` // a newer waiter of this session has come: this one is done
	Messages []InboxMessage `json:"messages"`
	Unread   int            `json:"unread"` // of this session, after these
	Held     int            `json:"held"`   // waiting for the user to accept their senders
}

// Flags of a message that is given to a session.
const (
	FlagAgain        = "again"         // it may have been in front of this session, or another one of the member, before
	FlagSessionEnded = "session_ended" // it was for a session that has ended
)

// OpenRequest is the body of POST /v1/mail/open: a session asks for one message as it was written, by its id. It gets what it could pull
// and what came before, and nothing that is held. The answer is an InboxMessage; it marks nothing.
type OpenRequest struct {
	Session string `json:"session"`
	ID      string `json:"id"`
}

// What became of taken messages.
const (
	SettlePushed   = "pushed"   // written to a place from which the session reads; unread until shown is proved
	SettleReturned = "returned" // the rung failed before it wrote anything: give them to the next
	SettleUnproved = "unproved" // written in part, or to a reader that took nothing: give them to the next, marked
	SettleShown    = "shown"    // proved to be in front of the session
)

// SettleRequest is the body of POST /v1/mail/settle.
type SettleRequest struct {
	Session string   `json:"session"`
	Rung    string   `json:"rung"`
	State   string   `json:"state"`
	IDs     []string `json:"ids"`
}

// HeldRequest is the body of POST /v1/mail/held: whose messages would come in front of a session now if its user let the sender in? The answer waits up to WaitMS
// until it is another one than Known.
type HeldRequest struct {
	Session string   `json:"session"`
	Known   []string `json:"known,omitempty"` // Pubkeys of the senders of the last answer
	WaitMS  int      `json:"wait_ms,omitempty"`
}

// HeldReply answers it.
type HeldReply struct {
	Senders []HeldSender `json:"senders"` // who waits longest comes first
}

// HeldSender is a member whose messages are held.
type HeldSender struct {
	Mesh        string `json:"mesh"`
	Name        string `json:"name"`
	Pubkey      string `json:"pubkey"`      // of the member: what AcceptRequest names
	Fingerprint string `json:"fingerprint"` // of that key, to compare with what the sender reads out
	Trust       Trust  `json:"trust"`
	Why         string `json:"why"`
	Messages    int    `json:"messages"`
}

// AcceptRequest is the body of POST /v1/accept: the user lets a sender in front of sessions.
type AcceptRequest struct {
	Mesh string `json:"mesh,omitempty"`
	Peer string `json:"peer"`
}
