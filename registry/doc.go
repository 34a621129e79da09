// Package registry is the table of this machine's live sessions: which Claude sessions and shells are
// on the mesh, and whether their processes still run.
//
// A session is bound to a process. Process ids are recycled, so a process is also identified by its
// start time, by its boot, and on Linux 6.9 and later by the inode of its pidfd, which is unique.
// Where the system reports the end of a process (pidfd on Linux, kqueue on macOS), the entry is
// removed within milliseconds. A sweep every five seconds finds the rest. A session never ends
// because of its age.
//
//	Register ──► entry ──► watch(process) ──► ended ──► OnEnd, once
//	               ▲             sweep ─────────┘
//
// Lock order: calls, mu, the watcher's mu. OnStart and OnEnd are called under calls alone, one at a
// time. So they may query the registry but must not change it.
package registry
