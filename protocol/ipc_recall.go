package protocol

// RecallRequest is the body of POST /v1/recall: what to look for in this machine's memory.
type RecallRequest struct {
	Query   string   `json:"query"`
	Terms   []string `json:"terms,omitempty"`   // error texts, identifiers, synonyms
	Context string   `json:"context,omitempty"` // what the asker works on; breaks ties
	Limit   int      `json:"limit,omitempty"`   // zero means 5, at most 50
	Dir     string   `json:"dir,omitempty"`     // absolute; only sessions in it and below
	Since   string   `json:"since,omitempty"`   // RFC 3339
	Until   string   `json:"until,omitempty"`   // RFC 3339
	Excerpt int      `json:"excerpt,omitempty"` // bytes of each excerpt; zero means 800, at most 8,192
}

// RecallHit is an episode of a session that fits.
type RecallHit struct {
	ID         int64    `json:"id"`
	Score      float64  `json:"score"`    // compares hits of one answer
	Coverage   float64  `json:"coverage"` // 0 to 1: how much of what is rare in the query stands in it
	Title      string   `json:"title,omitempty"`
	Agent      string   `json:"agent"` // claude; of a note: person or model
	Kind       string   `json:"kind"`  // turn, summary, note or mail
	Session    string   `json:"session,omitempty"`
	Dir        string   `json:"dir,omitempty"`
	Branch     string   `json:"branch,omitempty"`
	Secondhand bool     `json:"secondhand,omitempty"` // it may repeat the words of peers
	At         string   `json:"at,omitempty"`         // RFC 3339; when it ended
	Prompt     string   `json:"prompt,omitempty"`     // its beginning
	Excerpt    string   `json:"excerpt"`
	Files      []string `json:"files,omitempty"`
	Changed    int      `json:"changed,omitempty"` // files that were written since; of the first 16
}

// RecallReply answers it, best first.
type RecallReply struct {
	Hits     []RecallHit `json:"hits"`
	Episodes int         `json:"episodes"` // in the memory
	Indexing bool        `json:"indexing"` // recordings are being read, so more may be found later
}

// Episode answers GET /v1/recall/{id}: all that the memory holds of one episode.
type Episode struct {
	RecallHit
	Begun  string `json:"begun,omitempty"`
	Asked  string `json:"asked,omitempty"` // the whole prompt
	Text   string `json:"text,omitempty"`
	Code   string `json:"code,omitempty"`
	Output string `json:"output,omitempty"`
}

// RecallStatus answers GET /v1/recall/status.
type RecallStatus struct {
	Episodes int             `json:"episodes"`
	Notes    int             `json:"notes"`
	Sessions int             `json:"sessions"`
	Files    int             `json:"files"` // recordings
	Read     int64           `json:"read"`  // bytes of them
	Bytes    int64           `json:"bytes"` // of the index on disk
	Secrets  int64           `json:"secrets_removed"`
	Oldest   string          `json:"oldest,omitempty"`
	Newest   string          `json:"newest,omitempty"`
	Indexing bool            `json:"indexing"`
	Path     string          `json:"path"`
	Sources  []string        `json:"sources"` // directories that recordings are read from
	Excluded []string        `json:"excluded"`
	Problems []RecallProblem `json:"problems"` // recordings that could not be read
}

// RecallProblem is a recording that could not be read.
type RecallProblem struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// RecallExcludeRequest is the body of POST /v1/recall/exclude. Undo takes an exclusion back.
type RecallExcludeRequest struct {
	Dir  string `json:"dir"` // absolute
	Undo bool   `json:"undo,omitempty"`
}

// RecallForgetRequest is the body of POST /v1/recall/forget. Exactly one of IDs, Session and Dir is set.
type RecallForgetRequest struct {
	IDs     []int64 `json:"ids,omitempty"`
	Session string  `json:"session,omitempty"`
	Dir     string  `json:"dir,omitempty"`
	Private bool    `json:"private,omitempty"` // with Session: it is not indexed any more either
}

// RecallReleaseRequest is the body of POST /v1/recall/release: what a session learned after a peer's
// words came into it counts as the user's own. Exactly one is set.
type RecallReleaseRequest struct {
	ID      int64  `json:"id,omitempty"` // an episode of the session
	Session string `json:"session,omitempty"`
}

// RecallReleased answers it.
type RecallReleased struct {
	Session  string `json:"session"`
	Released int    `json:"released"` // episodes
}

// RecallGone answers exclude and forget: how many episodes were removed.
type RecallGone struct {
	Removed int `json:"removed"`
}

// RememberRequest is the body of POST /v1/recall/notes.
type RememberRequest struct {
	Text    string `json:"text"`
	By      string `json:"by"` // person or model
	Session string `json:"session,omitempty"`
	Dir     string `json:"dir,omitempty"`
}

// RememberReply answers it.
type RememberReply struct {
	ID      int64 `json:"id"`
	Removed int   `json:"secrets_removed"`
}

// SecretFingerprint stands for a value that the memory must not store.
type SecretFingerprint struct {
	MAC    string `json:"mac"` // hexadecimal
	Length int    `json:"length"`
}
