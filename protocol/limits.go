package protocol

import "time"

// Limits that both ends know. What only the broker enforces and an operator may change stands in broker.Limits.
const (
	Version = 2 // protocolVersion in hello and hello_ack

	MaxFrame        = 2 << 20  // bytes of one WebSocket message, both ways
	MaxPreHello     = 16 << 10 // bytes of a frame before hello was accepted: nobody unknown may make us buffer more
	MaxBody         = 64 << 10 // bytes of the body of one message, before sealing
	MaxHeader       = 16 << 10 // bytes of the JSON header inside an envelope
	MaxListed       = 64       // texts in one list of a statement: groups, features, capabilities, topics
	MaxStatement    = 64 << 10 // bytes of one statement
	MaxKeys         = 4096     // wraps in one group send; a mesh has at most as many statements
	MaxLogMessage   = 48 << 10 // bytes of statements in one sealed log message
	MaxMeshLog      = 4096     // certificates that admins of one mesh signed, and as many revokes
	MaxMeshLogSize  = 4 << 20  // bytes of either, and of what is set aside
	MaxUnresolved   = 1000     // statements set aside for one mesh: members' own revokes, and what has no force (yet)
	MaxOwnRevokes   = 256      // of these, the own revokes of one member: as many as a broker remembers sessions of him
	MaxAside        = 64       // of these, the others of one signer
	MaxAsideRemoved = 8        // the same once that signer was removed
	MaxHandOvers    = 64       // hand-overs set aside for one mesh: those that no earlier one leads to (yet), and losing rivals
	MaxPlaintext    = 4 + 64 + 4 + MaxHeader + MaxBody

	HelloTimeout      = 15 * time.Second // from accept to hello
	PingEvery         = 20 * time.Second // both ends ping; silence of 75 s ends the connection
	SilenceLimit      = 75 * time.Second
	PresenceLease     = 90 * time.Second // a presence outlives the signs of life of its connection by this, so a blip is invisible
	SessionLifetime   = 12 * time.Hour   // of a session statement; a fresh one is signed at every connect
	RetentionDays     = 7                // default time a queued message is kept
	MaxRetention      = 21 * 24 * time.Hour
	SealedMaxAge      = 29 * 24 * time.Hour // an envelope older than this is refused
	ReplayMemory      = 30 * 24 * time.Hour // how long a replay row outlives max(received, ts)
	ClockSkew         = 60 * time.Second
	CertAhead         = 5 * time.Minute // how far a certificate may be dated ahead of its reader's clock
	SessionGrace      = 5 * time.Minute // ts may lie this far beyond the session statement's expiry
	GapPatience       = 15 * time.Minute
	LinkMaxLifetime   = 30 * 24 * time.Hour
	RevokedLinkMemory = 60 * 24 * time.Hour // how long the closing of a link is kept: longer than any link lives
	LinkLifetime      = 7 * 24 * time.Hour
)

// Close codes of our WebSocket connections (RFC 6455 section 7.4 and its private range).
const (
	CloseKicked = 4001 // an admin ended this connection
	CloseBanned = 4002 // the key is revoked
)
