package registry

import "errors"

// errEnded says that a number still stands in the process table, but what it stood for has ended: a zombie.
var errEnded = errors.New("has ended")

// Process names one process for as long as the machine is up, also after its number was given to another.
type Process struct {
	PID   int    `json:"pid"`
	Boot  string `json:"boot,omitempty"`  // boot id; a process of another boot is dead
	Start uint64 `json:"start,omitempty"` // start time in the system's own unit (Linux: clock ticks since boot, macOS: µs since 1970); 0: could not be read
	Inode uint64 `json:"inode,omitempty"` // inode of its pidfd where these are unique (Linux 6.9); 0: unknown
}

// Liveness is what can be said of a process now.
type Liveness int

// What can be said.
const (
	Unknown Liveness = iota // could not be read now: ask again later
	Alive
	Dead // gone, or its number belongs to another process
)

// Identify reads who the process pid is now. Start and Inode stay zero where the system does not tell; an error means that there is no such process.
func Identify(pid int) (Process, error) { return identify(pid) }

// Check compares p with what runs under its number now. Without a start time bare liveness decides.
func Check(p Process) Liveness {
	if p.Boot != "" {
		if boot := bootID(); boot != "" && boot != p.Boot {
			return Dead
		}
	}
	if !exists(p.PID) {
		return Dead
	}
	now, err := identify(p.PID)
	if errors.Is(err, errEnded) || err != nil && !exists(p.PID) {
		return Dead
	}
	if err != nil {
		return Unknown
	}
	switch {
	case p.Start == 0 && p.Inode == 0:
		return Alive
	case p.Inode != 0 && now.Inode != 0 && p.Inode != now.Inode:
		return Dead
	case p.Start != 0 && now.Start == 0:
		return Unknown
	case p.Start != 0 && p.Start != now.Start:
		return Dead
	}
	return Alive
}

// Owner returns the nearest ancestor of pid, itself included, that is not a shell: the agent or terminal program that a tool server or a verb
// belongs to. It returns pid itself where ancestors cannot be read.
func Owner(pid int) int {
	at := pid
	for range 32 {
		name, parent, err := ancestry(at)
		if err != nil {
			return pid
		}
		if !isShell(name) {
			return at
		}
		if parent <= 1 {
			return at
		}
		at = parent
	}
	return pid
}

func isShell(name string) bool {
	switch name {
	case "sh", "bash", "zsh", "dash", "fish", "ksh", "ash", "tcsh", "csh", "nu", "pwsh", "busybox", "env", "timeout", "nohup", "setsid":
		return true
	}
	return false
}
