// Package mcp is the Model Context Protocol server that an agent starts: the mesh and the memory as eight tools, and mail brought in front of the model.
//
//	Claude Code ──stdio──► claudemesh mcp ──► Mesh (the daemon, over its socket)
//	     ▲                      │
//	     └── inbox socket ◄─────┘ mail, wrapped and labelled
//
// The server answers initialize at once, whether the daemon is up or not, and outlives it: every call asks the daemon anew, and a session that the
// daemon forgot registers again. Everything that a peer wrote is data: a random boundary keeps it apart from our own words, and the label comes
// from certificates. Nothing here needs a socket or a disk to be tested: the daemon is the small interface Mesh.
package mcp
