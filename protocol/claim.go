package protocol

// Claim is how somebody who waits to be admitted came, in GET /v1/members.
type Claim struct {
	Link        string `json:"link"` // its key: claims of one link have the same
	Role        string `json:"role"` // what the link makes of him
	Name        string `json:"name"` // what he would be called as a member: the name he gave himself, made unique
	Fingerprint string `json:"fingerprint"`
	Mine        bool   `json:"mine"`      // this member made the link, and its daemon may admit by it
	Contested   bool   `json:"contested"` // more claim the link than it has uses left, as far as this member may know
}
