// Package ask asks the mesh what its machines remember, and answers from this machine's memory.
//
//	bob's session ─▶ Ask ══ ask, sealed to the verified members ══▶ alice: rules ─▶ memory
//	                  ▲  ◀══ bid (date and title), or silence ════════╡ no model runs
//	                  └────▶ fetch from the best ════════════════════▶│ redacted, logged
//	                     ◀══ answer: at most 3 passages ═════════════╛
//
// An Engine serves all meshes of a daemon. What a peer sends is decoded strictly and bounded (wire.go).
// A malformed body is dropped and counted, and nothing else of the mail is affected. Rules say what
// may leave (policy.go). Each thing that left is in the log with its exact bytes.
//
// The answers of peers are shown, and are never stored in this machine's memory.
//
// Engine.mu guards questions that are open and is held over nothing that waits.
package ask
