package cli

import (
	urfave "github.com/urfave/cli/v2"
)

// verbs builds the command table. It is built anew for every command line: urfave/cli keeps values in its flags.
func verbs() *verb {
	return &verb{
		usage: "an encrypted mesh between Claude Code sessions, shells and scripts",
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version"},
			jsonFlag(),
		},
		max: 0,
		run: runRoot,
		examples: []string{
			"claudemesh demo                                  see the whole system on this machine",
			"claudemesh broker                                run the relay",
			"claudemesh create acme --broker relay.example    make a mesh there",
			"claudemesh invite                                make a link for one person",
			"claudemesh join ic://join/…                      join with a link",
			"claudemesh send bob \"tests are green\"            send a message",
		},
		subs: []*verb{
			demoVerb(), createVerb(), inviteVerb(), joinVerb(), leaveVerb(), meshVerb(),
			recallVerb(), rememberVerb(), askVerb(), knowledgeVerb(),
			sendVerb(), replyVerb(), listenVerb(), inboxVerb(), messageVerb(), acceptVerb(),
			statusVerb(), summaryVerb(), groupVerb(), peersVerb(), peerVerb(), membersVerb(), deviceVerb(), whoamiVerb(), auditVerb(),
			apikeyVerb(), brokerVerb(), benchVerb(), daemonVerb(), doctorVerb(), backupVerb(), restoreVerb(), completionVerb(), completeVerb(), versionVerb(),
			installVerb(), uninstallVerb(), launchVerb(), pluginVerb(), mcpVerb(), hookVerb(), statuslineVerb(), pluginPathVerb(),
			listVerb(), kickVerb(), banVerb(), unbanVerb(), bansVerb(),
		},
	}
}

// Headings of the overview.
const (
	headStart  = "Begin"
	headMemory = "Memory"
	headTalk   = "Messages"
	headPeople = "People"
	headRun    = "Run"
	headClaude = "Claude Code"
)
