// Package spool is where files wait on this machine: those that are to leave, encrypted from the moment that they are handed over,
// so that a later change or removal of the original changes nothing; and the ciphertexts of those that came, as far as they were
// fetched. It moves both between this disk and a broker, in parts, and goes on where it was cut. What it keeps is bounded.
//
// A row in daemon.db is what makes a file of the spool count; a file that no row tells of was left by a crash and goes at the next
// start. The row of a file holds its key until a message takes it; from then on only the sealed message does.
package spool
