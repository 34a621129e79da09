// Package mcp is the Model Context Protocol server that an agent starts. It offers the mesh and the
// memory as tools and delivers mail to the model.
//
//	Claude Code ──stdio──► claudemesh mcp ──► Mesh (the daemon, over its socket)
//	     ▲                      │
//	     └── inbox socket ◄─────┘ mail, wrapped and labelled
//
// The server answers initialize at once, whether or not the daemon runs, and it outlives the daemon.
// Every call connects to the daemon anew. A session that the daemon forgot is registered again.
// Everything that a peer wrote is data: a random boundary separates it from our own words, and the
// label comes from certificates. Tests need neither a socket nor a disk, because the server reaches
// the daemon through the small interface Mesh.
package mcp
