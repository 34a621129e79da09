// Package protocol is what daemon, broker and command line must agree on: signed statements, sealed
// messages, frames on the wire, requests on the local socket, limits and refusals. It does no I/O and
// reads no clock. Callers pass the time in.
//
// # Trust
//
// Everything that is signed or hashed is a block: a context and its fields, in one encoding
// (block.go). A Statement is a block with its signatures. Parse is the only way to create one, and
// the received bytes are kept. A statement proves who said what and nothing more. A View of all
// statements about a mesh says what they mean:
//
//	bytes ── Parse ──▶ Statement ──▶ Set ── View ──▶ owner, admins, members, revoked keys
//	         rules,                  what one        a pure function: order and
//	         signatures              reader knows    repetition decide nothing
//
// The mesh id is the hash of the charter, which holds the owner's key. So whoever knows the id knows
// where every chain of signatures must begin. A broker can withhold statements but not forge them.
// No statement refers to an earlier one, so there is no sequence that could fork. Two readers with
// the same statements have the same view. The digests of their logs, which every envelope carries,
// reveal a difference.
//
// # Sealing
//
// A message is an envelope: a header and a body, signed together, inside a box (seal.go). The header
// binds sender, target, mesh and id. The Opener compares all of it with the broker's frame and with
// the view before anybody sees the body.
package protocol
