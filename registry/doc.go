// Package registry is the table of this machine's live sessions: which Claude (or shell) is on the mesh, and whether it still lives.
//
// A session is bound to a process. The process is known by more than its number, because numbers are recycled: by its start time, by the boot
// that it belongs to, and on Linux 6.9 and later by the inode of its pidfd, which no two processes ever share. Where the system tells at once that a
// process ended (pidfd on Linux, kqueue on macOS) the entry goes within milliseconds; a sweep every five seconds finds the rest. A session
// never ends because it is old.
//
//	Register ──► entry ──► watch(process) ──► ended ──► OnEnd, once
//	               ▲             sweep ─────────┘
//
// Lock order: calls, mu, the watcher's mu. OnStart and OnEnd are called under calls alone, one at a time, so they may ask the registry but not
// change it.
package registry
