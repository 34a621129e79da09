// Package broker is the relay. It accepts sealed messages, keeps them until their recipient has them
// on disk, and tells the sender. One broker serves many meshes. It knows their statements, members
// and presences, and cannot read the messages.
//
//	send ─▶ split ─▶ repeat? ─▶ authorised? ─▶ limits ─▶ queue: commit ─▶ ack ─▶ wake ─▶ push
//	                                                  receipt ◀─ client_ack ◀────────────┘
//
// Each connection has a goroutine that reads requests and answers them. While output is pending, a
// second goroutine writes replies, news of the mesh and the pushes that it pulls from the queues,
// with one flush for all of them.
//
// Lock order: mesh.publishing, mesh.mu, conn.mu. Server.mu is taken alone. Only publishing is held
// across I/O: it serialises the changes to one mesh's log. Callbacks of the queue (done, wake) take
// mesh.mu and conn.mu and never call Put.
//
// A hello must carry a signed statement. Clients of the original claudemesh send none and are
// refused as not_supported. DESIGN.md lists the invariants.
package broker
