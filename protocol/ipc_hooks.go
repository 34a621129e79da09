package protocol

// The events of an agent session that its hooks tell the daemon.
const (
	HookSessionStart = "session-start"
	HookPrompt       = "user-prompt-submit"
	HookToolUse      = "post-tool-use"
	HookStop         = "stop"
	HookSessionEnd   = "session-end"
	HookPreCompact   = "pre-compact"
	HookPermission   = "permission-request"
	HookNotification = "notification"
)

// HookRequest is the body of POST /v1/hook: what the agent session does now. It registers the session where it is not known.
type HookRequest struct {
	Event   string         `json:"event"`
	Session SessionRequest `json:"session"`
	Shown   []string       `json:"shown,omitempty"`  // ids of messages that the prompt holds: the proof that they were shown
	Human   bool           `json:"human,omitempty"`  // a person typed the prompt
	Active  bool           `json:"active,omitempty"` // the turn that stops was itself started by a stop hook
	Quiet   bool           `json:"quiet,omitempty"`  // give no mail: the event is a subagent's

	Waits bool   `json:"waits,omitempty"` // the session waits for its human: a permission, a question
	Idle  bool   `json:"idle,omitempty"`  // the client says that nothing runs
	File  string `json:"file,omitempty"`  // in which the client keeps its own status of the session

	Transcript string              `json:"transcript,omitempty"` // path of the session's recording
	Private    bool                `json:"private,omitempty"`    // the user declared the session private
	Secrets    []SecretFingerprint `json:"secrets,omitempty"`    // of values in the session's environment
}

// HookReply answers it. Messages are those to add to the context; they are given to the hook rung and are to be settled as shown.
type HookReply struct {
	Session  SessionInfo    `json:"session"`
	Meshes   []WhoAmI       `json:"meshes"` // who the session is
	Messages []InboxMessage `json:"messages"`
}

// StatusLine answers GET /v1/statusline: one mesh at a glance.
type StatusLine struct {
	Mesh    string `json:"mesh"` // empty: none is joined
	More    int    `json:"more"` // further meshes
	State   string `json:"state"`
	Online  int    `json:"online"` // members, oneself included
	Members int    `json:"members"`
	Unread  int    `json:"unread"`
	Held    int    `json:"held"`
	Asked   int    `json:"asked"`   // requests for knowledge that wait for the user's decision
	Guarded bool   `json:"guarded"` // mail waits because of a loop or a flood
	Unknown bool   `json:"unknown"` // the session that asks is not on the mesh

	Waiting []string `json:"waiting,omitempty"` // labels of other sessions of this machine that wait for their human
}
