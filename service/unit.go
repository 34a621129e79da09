package service

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// The daemon's unit has only the hardening that a user manager can give without namespaces of its own: distributions
// forbid those to users, and a unit that asks for them does not start.
//
// Restart=always, because a daemon that ends by itself (an upgrade, an old command line's `daemon down`) is wanted back;
// who stops it for good stops the unit. Codes 3 and 6 say that it was called wrongly, or that another daemon has the
// home: no restart mends that. The watchdog ends a daemon that does not answer its own socket for two minutes. The start limit gives up after about a minute of failures, which then show as failed.
const daemonUnit = `# @MARK@, and replaces it. Your own settings belong into
# claudemesh-daemon.service.d/*.conf beside it.
[Unit]
Description=claudemesh daemon
Documentation=https://github.com/claudemesh/claudemesh
StartLimitIntervalSec=600
StartLimitBurst=30

[Service]
Type=notify
ExecStart=@EXEC@ daemon
@HOME@
Restart=always
RestartSec=2
RestartPreventExitStatus=3 6
TimeoutStartSec=30
TimeoutStopSec=20
WatchdogSec=120
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
`

// The broker's unit gives it a user of its own, one directory, the network and nothing else. Only a port below 1024 needs
// a capability, and that one does not work from a user namespace. The watchdog ends a broker whose disk did not answer for a
// minute.
const brokerUnit = `# @MARK@, and replaces it. Your own settings belong into
# claudemesh-broker.service.d/*.conf beside it.
[Unit]
Description=claudemesh broker
Documentation=https://github.com/claudemesh/claudemesh
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=600
StartLimitBurst=30

[Service]
Type=notify
ExecStart=@EXEC@ broker@ARGS@
@CREDENTIALS@DynamicUser=yes
StateDirectory=claudemesh
StateDirectoryMode=0700
Restart=always
RestartSec=2
RestartPreventExitStatus=3 6
TimeoutStartSec=60
TimeoutStopSec=30
WatchdogSec=60
LimitNOFILE=65536
UMask=0077
@CAPABILITIES@
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`

// BrokerOptions are what the broker is told. Its data is in BrokerData always.
type BrokerOptions struct {
	Flags   []BrokerFlag // in their order on the command line
	Listens []string     // addresses: a port below 1024 takes a capability
}

// BrokerFlag is a flag of the broker and its value, which is the absolute path of a file where File says so. Files are read as root
// when the service starts, so that its user need not be able to: renewing them takes a restart.
type BrokerFlag struct {
	Name, Value string
	File        bool
}

// BrokerData is where the broker's service keeps its data. Uninstall leaves it.
const BrokerData = "/var/lib/claudemesh"

func renderDaemonUnit(s spec) string {
	return strings.NewReplacer("@MARK@", fileMark(s.verb), "@EXEC@", quotePath(s.executable), "@HOME@", homeLine(s.home)).Replace(daemonUnit)
}

// homeLine is the same for the same home always: Managed looks for it.
func homeLine(home string) string {
	return "Environment=" + quote(homeVariable+"="+home)
}

func renderBrokerUnit(s spec) string {
	line, credentials := "", ""
	percent := strings.NewReplacer("%", "%%")
	for _, f := range append([]BrokerFlag{{Name: "data", Value: BrokerData}}, s.broker.Flags...) {
		line += " --" + f.Name + " "
		if !f.File {
			line += quoteArg(f.Value)
			continue
		}
		line += "${CREDENTIALS_DIRECTORY}/" + f.Name
		// This setting takes the rest of the line as it is, quotes and all; only specifiers are expanded.
		credentials += "LoadCredential=" + f.Name + ":" + percent.Replace(f.Value) + "\n"
	}
	capabilities := "CapabilityBoundingSet=\nPrivateUsers=yes"
	if slices.ContainsFunc(s.broker.Listens, lowPort) {
		capabilities = "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE"
	}
	return strings.NewReplacer("@MARK@", fileMark(s.verb), "@EXEC@", quotePath(s.executable), "@ARGS@", line,
		"@CREDENTIALS@", credentials, "@CAPABILITIES@", capabilities).Replace(brokerUnit)
}

// lowPort tells whether listening on addr takes a capability.
func lowPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := net.LookupPort("tcp", port)
	return err == nil && n > 0 && n < 1024
}

// quote makes s one word of a unit file (systemd.syntax(7)) in which no specifier is expanded (systemd.unit(5)). The brace
// is escaped because kardianos/service takes two of them for a template.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			b.WriteString("%%")
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c == '{' || c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unquote is the inverse of quote, and "" for what quote did not write.
func unquote(word string) string {
	word = strings.TrimPrefix(word, `"`)
	word, ok := strings.CutSuffix(word, `"`)
	if !ok {
		return ""
	}
	word = strings.ReplaceAll(word, "%%", "%")
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] != '\\' || i+1 == len(word) {
			b.WriteByte(word[i])
			continue
		}
		i++
		if n, err := strconv.ParseUint(word[min(i+1, len(word)):min(i+3, len(word))], 16, 8); word[i] == 'x' && err == nil {
			b.WriteByte(byte(n))
			i += 2
			continue
		}
		b.WriteByte(word[i])
	}
	return b.String()
}

// quotePath is for the program to start, in which systemd does not look for variables.
func quotePath(s string) string { return quote(s) }

// quoteArg is for its arguments, in which it does (systemd.service(5), "Command lines").
func quoteArg(s string) string { return quote(strings.ReplaceAll(s, "$", "$$")) }
