//go:build !windows && !linux

package cli

import "github.com/rogpeppe/go-internal/testscript"

// Here the system does not tell a writer what was read: the scripts that need these commands are skipped.

func cmdBroken(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("only on Linux") }
func cmdAgain(ts *testscript.TestScript, _ bool, _ []string)  { ts.Fatalf("only on Linux") }
