// Package protocol is everything that daemon, broker and command line must agree on: what is signed, what is sealed, what
// crosses the wire and the local socket, the limits and the refusals. It does no I/O and reads no clock; who needs the time
// passes it in.
//
// # Who is believed
//
// All that is signed or hashed is a block: a context and its fields, in one encoding (block.go). A Statement is a block with
// its signatures; Parse is the only way in, and what was received is kept as it was. A statement proves who said what and
// nothing more. What it amounts to is told by a View of all statements about a mesh:
//
//	bytes ── Parse ──▶ Statement ──▶ Set ── View ──▶ owner, admins, members, revoked keys
//	         rules,                  what one        a pure function: order and
//	         signatures              reader knows    repetition decide nothing
//
// The mesh id is the hash of the charter, which holds the owner's key. So whoever knows the id knows where every chain of
// signatures must begin, and a broker can withhold statements but not make any. Since no statement refers to the one before,
// there is no sequence to fork: two readers with the same statements have the same view, and the digests of their logs, which
// travel in every envelope, tell them when they have not.
//
// # What is sealed
//
// A message is an envelope: a header and a body, signed together, inside a box (seal.go). The header binds sender, target, mesh
// and id, and the Opener compares all of it with what the broker says and with the view before anybody sees the body.
package protocol
