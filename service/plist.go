package service

import (
	"encoding/xml"
	"fmt"
	"path/filepath"
	"strings"
)

const launchdLabel = "com.claudemesh.daemon"

const homeVariable = "CLAUDEMESH_CONFIG_DIR"

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
		@HOME@@ENV@
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

func renderPlist(s spec, env Environment) string {
	return strings.NewReplacer("@MARK@", fileMark(s.verb), "@EXEC@", escapeXML(s.executable), "@HOME@", homeEntry(s.home), "@ENV@", envEntries(env),
		"@DIR@", escapeXML(s.home), "@LOG@", escapeXML(logFile(s.home))).Replace(agentPlist)
}

// logFile is where launchd puts what the daemon prints.
func logFile(home string) string { return filepath.Join(home, "launchd.log") }

// homeEntry is the same for the same home always: Managed looks for it.
func homeEntry(home string) string {
	return "<key>" + homeVariable + "</key>\n\t\t<string>" + escapeXML(home) + "</string>"
}

// envEntries are the recorded variables, behind the home.
func envEntries(env Environment) string {
	var b strings.Builder
	for _, name := range env.sorted() {
		b.WriteString("\n\t\t<key>" + escapeXML(name) + "</key>\n\t\t<string>" + escapeXML(env[name]) + "</string>")
	}
	return b.String()
}

// recorded reads the variables of a plist that we wrote, without the home.
func (m *launchd) recorded(text string) (Environment, error) {
	_, text, _ = strings.Cut(text, "<key>EnvironmentVariables</key>")
	text, _, _ = strings.Cut(text, "</dict>")
	var entries struct {
		Keys   []string `xml:"key"`
		Values []string `xml:"string"`
	}
	if err := xml.Unmarshal([]byte(text+"</dict>"), &entries); err != nil || len(entries.Keys) != len(entries.Values) {
		return nil, fmt.Errorf("read %s: its EnvironmentVariables are not as they were written", m.path())
	}
	env := Environment{}
	for i, name := range entries.Keys {
		if name != homeVariable {
			env[name] = entries.Values[i]
		}
	}
	return env, nil
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
