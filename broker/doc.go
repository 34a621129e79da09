// Package broker is the relay: it takes sealed messages, keeps them until their recipient has them on disk, and tells the
// sender. It carries many meshes, knows their statements, members and presences, and never reads what it carries.
//
//	send ─▶ split ─▶ repeat? ─▶ may he? ─▶ limits ─▶ queue: commit ─▶ ack ─▶ wake ─▶ push ─▶ client_ack ─▶ receipt
//
// Each connection has a goroutine that reads and answers requests, and while there is something to write another that writes
// answers, news of the mesh and what it pulls from the queues, all that waits with one flush.
//
// Locks, in this order: mesh.publishing, mesh.mu, conn.mu; Server.mu is taken alone. Only publishing is held across I/O: it
// makes the changes of one mesh's log serial. What the queue calls (done, wake) takes mesh.mu and conn.mu and never Puts.
//
// A hello must carry a signed statement. Clients of the original claudemesh have none and are refused as not_supported.
// DESIGN.md has the invariants.
package broker
