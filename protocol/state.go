package protocol

// State is how far a message has come. States only rise; dead ends it.
type State string

// The states, in their order.
const (
	StateAccepted  State = "accepted"  // on the sender's disk
	StateQueued    State = "queued"    // on the broker's disk
	StateDelivered State = "delivered" // on the recipient's disk
	StateShown     State = "shown"     // in front of the session
	StateRead      State = "read"      // marked as read
	StateDead      State = "dead"      // given up, with a reason; nobody will retry
)

// Rank orders states. An unknown state ranks below all.
func (s State) Rank() int {
	switch s {
	case StateAccepted:
		return 1
	case StateQueued:
		return 2
	case StateDelivered:
		return 3
	case StateShown:
		return 4
	case StateRead:
		return 5
	case StateDead:
		return 6
	}
	return 0
}

// Who vouches for a state.
const (
	ProofPeer   = "peer"   // a receipt sealed by the recipient
	ProofBroker = "broker" // the broker's word
	ProofSelf   = "self"   // our own disk
)

// Trust is what is known of who stands behind a key.
type Trust string

// The levels of trust that are shown.
const (
	TrustVerified   Trust = "verified"   // a chain of signatures from the mesh's owner
	TrustInvited    Trust = "invited"    // somebody who holds a link
	TrustUnverified Trust = "unverified" // nobody vouches for it: removed, left, or never admitted
	TrustAlarm      Trust = "alarm"      // claims to be from someone and is not proved to be
)

// Priorities of a message.
const (
	PriorityNow  = "now"  // wakes an idle session and interrupts a working one
	PriorityNext = "next" // waits for the end of the turn
	PriorityLow  = "low"  // waits until it is asked for
)

// Statuses of a session.
const (
	StatusIdle    = "idle"
	StatusWorking = "working"
	StatusWaiting = "waiting" // for its human: a permission, a question
	StatusDND     = "dnd"
)
