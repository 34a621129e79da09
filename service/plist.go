package service

import (
	"encoding/xml"
	"path/filepath"
	"strings"
)

const launchdLabel = "com.claudemesh.daemon"

// launchd starts the agent at login and again when it ends in failure, at most every ten seconds. The daemon writes its
// log itself; what is said before that is open, and what the Go runtime says at a crash, goes to the two paths. The umask
// is decimal: 63 is 0077.
const agentPlist = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- @MARK@, and replaces it. -->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + launchdLabel + `</string>
	<key>ProgramArguments</key>
	<array>
		<string>@EXEC@</string>
		<string>daemon</string>
	</array>
	<key>EnvironmentVariables</key>
	<dict>
		@HOME@
	</dict>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ThrottleInterval</key>
	<integer>10</integer>
	<key>ExitTimeOut</key>
	<integer>20</integer>
	<key>ProcessType</key>
	<string>Background</string>
	<key>Umask</key>
	<integer>63</integer>
	<key>WorkingDirectory</key>
	<string>@DIR@</string>
	<key>StandardOutPath</key>
	<string>@LOG@</string>
	<key>StandardErrorPath</key>
	<string>@LOG@</string>
</dict>
</plist>
`

func renderPlist(s spec) string {
	return strings.NewReplacer("@MARK@", fileMark(s.verb), "@EXEC@", escapeXML(s.executable), "@HOME@", homeEntry(s.home),
		"@DIR@", escapeXML(s.home), "@LOG@", escapeXML(logFile(s.home))).Replace(agentPlist)
}

// logFile is where launchd puts what the daemon prints.
func logFile(home string) string { return filepath.Join(home, "launchd.log") }

// homeEntry is the same for the same home always: Managed looks for it.
func homeEntry(home string) string {
	return "<key>CLAUDEMESH_CONFIG_DIR</key>\n\t\t<string>" + escapeXML(home) + "</string>"
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
