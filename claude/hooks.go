package claude

import (
	"slices"
	"strings"
)

// events are the hook events that we listen to.
var events = []string{"SessionStart", "UserPromptSubmit", "PostToolUse", "Stop", "SessionEnd", "PreCompact", "PermissionRequest", "Notification"}

// waitTimeout bounds the waiter, in seconds: a session may be idle over a weekend and a holiday.
const waitTimeout = 14 * 24 * 3600

// NotifiesIdle is the kind of notification by which the client says that it waits for a prompt.
const NotifiesIdle = "idle_prompt"

// waiting are the kinds of notification by which it says that it waits for an answer of its user.
var waiting = []string{"permission_prompt", "worker_permission_prompt", "elicitation_dialog", "agent_needs_input"}

// WaitsForHuman says whether a notification means that the session waits for an answer of its user.
func WaitsForHuman(kind string) bool { return slices.Contains(waiting, kind) }

type hook struct {
	event string
	verb  string
	entry map[string]any
}

// hooks lists our entries in settings.json. Timeouts are in seconds: ours answer within 100 ms and never hold up a turn. The waiter is a background hook
// that holds a long poll open at the daemon and wakes the session with exit code 2; one per session, a newer one replaces the older.
func hooks(command string) []hook {
	plain := func(event, verb string, timeout int) hook {
		return hook{event, verb, map[string]any{"hooks": []any{map[string]any{"type": "command", "command": quote(command) + " hook " + verb, "timeout": timeout}}}}
	}
	waiter := func(event string) hook {
		return hook{event, "wait", map[string]any{"hooks": []any{map[string]any{
			"type": "command", "command": quote(command) + " hook wait", "timeout": waitTimeout, "asyncRewake": true,
			"rewakeSummary": "claudemesh: mail from the mesh",      // on the screen; else "Stop hook feedback"
			"rewakeMessage": "claudemesh brings what peers wrote:", // to the model; else "Stop hook blocking error from command …"
		}}}}
	}
	notified := plain("Notification", "notification", 5)
	notified.entry["matcher"] = strings.Join(append([]string{NotifiesIdle}, waiting...), "|")
	return []hook{
		plain("SessionStart", "session-start", 5), waiter("SessionStart"),
		plain("UserPromptSubmit", "user-prompt-submit", 5),
		plain("PostToolUse", "post-tool-use", 5),
		plain("Stop", "stop", 5), waiter("Stop"),
		plain("SessionEnd", "session-end", 1),
		plain("PreCompact", "pre-compact", 5),
		plain("PermissionRequest", "permission-request", 5),
		notified,
	}
}

func statusLine(command string) map[string]any {
	return map[string]any{"type": "command", "command": quote(command) + " statusline", "refreshInterval": 5}
}

// quote makes a path one word for the shell that runs hooks.
func quote(command string) string {
	if strings.ContainsAny(command, " '\"\\$&();|<>*?`") {
		return "'" + strings.ReplaceAll(command, "'", `'\''`) + "'"
	}
	return command
}

func has(d *document, path []string, entry map[string]any) bool {
	v, ok := d.find(path)
	if !ok || d.text[v.start] != '[' {
		return false
	}
	for _, it := range items(d.text, v) {
		if sameJSON(d.text[it.start:it.end], entry) {
			return true
		}
	}
	return false
}
