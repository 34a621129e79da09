package claude

import "strings"

const (
	// ToolPrefix begins the names of our tools as a model calls them: mcp__claudemesh__send_message.
	ToolPrefix = "mcp__" + ServerName + "__"

	// PluginToolPrefix begins them in a session that has us as a plugin.
	PluginToolPrefix = "mcp__plugin_" + ServerName + "_" + ServerName + "__"

	// EnvPlugin is set for what a plugin's hooks and servers start.
	EnvPlugin = "CLAUDE_PLUGIN_ROOT"
)

// OwnTool returns which of our tools a name is, or "".
func OwnTool(name string) string {
	for _, prefix := range []string{ToolPrefix, PluginToolPrefix} {
		if tool, ok := strings.CutPrefix(name, prefix); ok {
			return tool
		}
	}
	return ""
}
