package protocol

// What the daemon's REST interface answers, /api/v1 on its socket and, where it is switched on, on loopback. It takes and gives
// plain text, and seals and opens it here.

// PlainPeers answers GET /api/v1/peers.
type PlainPeers struct {
	Peers []PlainPeer `json:"peers"`
}

// PlainPeer is a peer as `peers --json` has it, with the names of RESTPeer.
type PlainPeer struct {
	PeerInfo
	DisplayName string `json:"displayName"`
	Via         string `json:"via"`
}

// PlainMembers answers GET /api/v1/members.
type PlainMembers struct {
	Members []PlainMember `json:"members"`
}

// PlainMember is a member as `members --json` has it, with the names of RESTMember.
type PlainMember struct {
	MemberInfo
	DisplayName string `json:"displayName"`
	IsHuman     bool   `json:"isHuman"`
}

// PlainMessages answers GET /api/v1/messages: a page of the inbox, newest first.
type PlainMessages = InboxPage
