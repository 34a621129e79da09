// Package cli is the command line: the verbs, their flags and output, and the documented exit codes.
// It is the only package that wires the others together.
//
// One table of verbs (table.go) drives parsing, help, completion and the tests. Arguments are
// rearranged before urfave/cli sees them (args.go), because that package ignores flags that follow
// an argument, even unknown ones.
//
// Data goes to stdout, messages for people to stderr. With --json an error is one object on stdout
// as well, so a script reads one stream. Text from other people is sanitised before it reaches a
// terminal.
package cli
