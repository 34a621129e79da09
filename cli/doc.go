// Package cli is the command line: the verbs, their flags and output, and the exit codes that scripts may rely on.
// It is the only package that wires the others together.
//
// One table of verbs (table.go) is the source of everything: what is parsed, what help and completion say, and what the
// tests walk through. Arguments are arranged before urfave/cli sees them (args.go), because that package ignores flags
// that stand after an argument, and unknown ones there too.
//
// Data goes to stdout, chatter to stderr. Under --json an error is one object on stdout as well, so that a script
// reads one stream. Text that came from others is made harmless before it reaches a terminal.
package cli
