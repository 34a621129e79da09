// Package blobs keeps the ciphertexts of files at a broker until their readers had time to fetch them. A blob belongs to a member
// of a mesh, has a size and a list of readers from its first moment on, grows by appending alone, and never changes after that.
//
// Rows lie in broker.db, contents in one directory, each under a hash of its name. A row is the truth: it says how many bytes of
// the content are on the disk, and what a file holds beyond that was never acknowledged. What a member and a mesh may hold is
// counted by the sizes that were announced, before the first byte comes, so uploads at the same time cannot pass a limit together.
package blobs
