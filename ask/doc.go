// Package ask asks the mesh what its machines remember, and answers from this machine's memory.
//
//	bob's session ─▶ Ask ══ ask, sealed to the verified members ══▶ alice: rules ─▶ memory
//	                  ▲  ◀══ bid (date and title), or silence ════════╡ no model runs
//	                  └────▶ fetch from the best ════════════════════▶│ redacted, logged
//	                     ◀══ answer: at most 3 passages ═════════════╛
//
// An Engine serves all meshes of a daemon. What a peer sends is decoded strictly and bounded (wire.go).
// A malformed body is dropped and counted and affects no other mail. Rules say what may leave the
// machine (policy.go). The log keeps the exact bytes of everything that left.
//
// Answers of peers are shown and never stored in this machine's memory.
//
// Engine.mu guards the open questions and is never held across a wait.
package ask
