// Package files is what a file needs on both of its ends: the name that it may have, the stream that encrypts it to a key of its
// own, and the writing and reading of it that no peer and no other program on the machine can turn against its user.
package files
