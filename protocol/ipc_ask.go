package protocol

// AskRequest is the body of POST /v1/ask: a question to the memories of a mesh.
type AskRequest struct {
	Mesh     string   `json:"mesh,omitempty"`
	Question string   `json:"question"`
	Terms    []string `json:"terms,omitempty"` // error texts, identifiers, synonyms
	Context  string   `json:"context,omitempty"`
	To       string   `json:"to,omitempty"` // a name or @group; empty: everybody
	Session  string   `json:"session,omitempty"`
	WaitMS   int      `json:"wait_ms,omitempty"` // zero means 8 s, at most 60 s
	About    string   `json:"about,omitempty"`   // id of an offer: ask its maker about it
}

// AskReply answers it. Texts of peers are data, never instructions.
type AskReply struct {
	ID      string      `json:"id"`
	Mesh    string      `json:"mesh"`
	Own     []RecallHit `json:"own"` // of this machine's memory
	Answers []AskAnswer `json:"answers"`
	Offers  []AskOffer  `json:"offers"`         // best first
	People  int         `json:"people"`         // who were asked
	Online  int         `json:"online"`         // of these, at that time
	Held    int         `json:"held,omitempty"` // answers and offers that the asking session may not read: their senders are not accepted
}

// AskAnswer is what a peer's memory said.
type AskAnswer struct {
	Offer    string `json:"offer"` // of the offer that it answers; for about and rate
	From     string `json:"from"`
	Pubkey   string `json:"pubkey"`
	Text     string `json:"text"`
	Project  string `json:"project,omitempty"`
	Title    string `json:"title,omitempty"`
	Branch   string `json:"branch,omitempty"`
	At       string `json:"at,omitempty"`      // RFC 3339
	Changed  int    `json:"changed,omitempty"` // files of the episode that were written since, as the peer's machine says
	Composed bool   `json:"composed"`          // written by a model from the peer's sessions; else a quotation
}

// AskOffer says that a peer's memory has something.
type AskOffer struct {
	ID       string  `json:"id"`
	From     string  `json:"from"`
	Pubkey   string  `json:"pubkey"`
	Coverage float64 `json:"coverage"`
	Project  string  `json:"project,omitempty"`
	Title    string  `json:"title,omitempty"`
	At       string  `json:"at,omitempty"`
	Level    string  `json:"level"`            // hint, excerpt or answer
	Status   string  `json:"status,omitempty"` // fetched, ok, pending, refused, gone or failed; empty: not fetched
	Rated    string  `json:"rated,omitempty"`
}

// AskedInfo is a question of this user, of GET /v1/asks and GET /v1/asks/{id}.
type AskedInfo struct {
	AskReply
	Question string `json:"question"`
	To       string `json:"to"`
	AskedAt  string `json:"asked_at"`
	OpenTill string `json:"open_till"` // offers that come until then still count
}

// AskRateRequest is the body of POST /v1/asks/rate.
type AskRateRequest struct {
	Offer  string `json:"offer"`
	Useful bool   `json:"useful"`
}

// KnowledgeRule is one thing that this user allowed to leave.
type KnowledgeRule struct {
	ID    string   `json:"id"`
	Mesh  string   `json:"mesh"`
	Dir   string   `json:"dir,omitempty"`  // empty: all projects
	With  []string `json:"with,omitempty"` // names and @groups; empty: every verified member
	Level string   `json:"level"`          // none, hint, excerpt or answer
	Added string   `json:"added"`
}

// KnowledgeShareRequest is the body of POST /v1/knowledge/share.
type KnowledgeShareRequest struct {
	Mesh  string   `json:"mesh,omitempty"`
	Dir   string   `json:"dir,omitempty"`
	With  []string `json:"with,omitempty"`
	Level string   `json:"level"`
}

// KnowledgeUnshareRequest is the body of POST /v1/knowledge/unshare.
type KnowledgeUnshareRequest struct {
	Mesh string `json:"mesh,omitempty"`
	Dir  string `json:"dir,omitempty"` // that of the rules; empty: those for all projects
	All  bool   `json:"all,omitempty"` // every rule of the mesh
}

// KnowledgeGone answers it.
type KnowledgeGone struct {
	Removed int `json:"removed"`
}

// KnowledgeEntry is something that this machine answered, of GET /v1/knowledge/log.
type KnowledgeEntry struct {
	N        uint64   `json:"n"`
	At       string   `json:"at"`
	Mesh     string   `json:"mesh"`
	Name     string   `json:"name"`
	Pubkey   string   `json:"pubkey"`
	Question string   `json:"question"`
	What     string   `json:"what"` // bid, answer or nothing
	Level    string   `json:"level,omitempty"`
	Status   string   `json:"status,omitempty"`
	Matched  []string `json:"matched,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Bytes    int      `json:"bytes"`          // that left
	Sent     string   `json:"sent,omitempty"` // exactly these, of GET /v1/knowledge/log/{n}
	Cost     float64  `json:"cost,omitempty"` // dollars
}

// KnowledgeAsk is a follow-up that waits for this user, of GET /v1/knowledge/requests.
type KnowledgeAsk struct {
	ID       string `json:"id"`
	At       string `json:"at"`
	Mesh     string `json:"mesh"`
	Name     string `json:"name"`
	Pubkey   string `json:"pubkey"`
	Question string `json:"question"`
	Follow   string `json:"follow,omitempty"`
	Would    string `json:"would_send"` // the text that an approval sends
}

// KnowledgeDecision is the body of POST /v1/knowledge/requests/{id}.
type KnowledgeDecision struct {
	Approve bool `json:"approve"`
	Always  bool `json:"always,omitempty"` // for this asker and these projects from now on
}
