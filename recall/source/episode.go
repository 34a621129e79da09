// Package source reads what agents recorded of their sessions and cuts it into episodes.
//
// An episode is one prompt of the user with what followed until the next one. What the client
// injected into the session (reminders, hook output, messages of peers) is not the user's knowledge
// and is left out.
package source

import (
	"context"
	"hash/fnv"
	"io"
	"time"
)

// Kind says what an episode was made from.
type Kind string

// Kinds of episodes.
const (
	Turn    Kind = "turn"    // a prompt and what followed
	Summary Kind = "summary" // the client's own summary of a conversation that it compacted
	Mail    Kind = "mail"    // a message that the user received
	Note    Kind = "note"    // written with remember, by a person or a model
)

// Episode is one unit of memory. All texts are cut to the limits of this package, and are not redacted.
type Episode struct {
	Key        string // unique: the uuid of the first record, or a hash of its content
	Agent      string // the client that recorded it: "claude"; for notes who wrote it: "person" or "model"; of mail "peer"
	Session    string
	Sub        string // the sub-agent's id; empty in the main conversation
	Dir        string // working directory of the session at the time
	Branch     string // git branch, where the client recorded one
	Kind       Kind
	Prompt     string
	Text       string // what the model said
	Code       string // commands, searches, edits
	Output     string // what tools answered, cut to what carries meaning
	Files      []string
	Start, End time.Time

	// Secondhand says that the session had read a message of a peer or an answer of the mesh by then,
	// so that the text may repeat somebody else's words.
	Secondhand bool

	Records []uint64 // hashes of the uuids of its records
	From    int64    // offset in bytes of its first record in its file
}

// Empty reports whether nothing in e is worth finding.
func (e *Episode) Empty() bool {
	return e.Text == "" && e.Code == "" && e.Output == "" && e.Kind == Turn
}

// File is one recording, as a source lists it.
type File struct {
	Path    string
	Size    int64 // bytes
	ModTime time.Time
}

// Source finds and reads the recordings of one kind of client.
type Source interface {
	// Agent names the client: "claude".
	Agent() string
	// Root is the directory that the recordings lie in.
	Root() string
	// Files calls yield for each recording. Directories and files that cannot be read are skipped.
	Files(ctx context.Context, yield func(File) error) error
	// Owns reports whether path may be a recording of this source. It does not touch the file.
	Owns(path string) bool
	// Read reads the recording at path from r, which begins at offset start, and calls emit for each
	// episode in order, the last one included even if the session may go on with it. A record for
	// which known returns true belongs to another episode and is left out. Malformed records are
	// skipped. A line without an end is left for the next time.
	Read(ctx context.Context, path string, r io.Reader, start int64, known func(record uint64) bool, emit func(*Episode) error) (Progress, error)
}

// Progress is how far Read got, and what it learned of the session as a whole.
type Progress struct {
	End     int64  // offset behind the last whole line
	Session string // empty when no record named one
	Title   string // newest title of the session; empty when none was read
	Private bool   // the user declared the session private

	Foreign time.Time // when somebody else's words came into the session first; zero: not in what was read

	Skipped int // records that could not be read
}

// RecordHash identifies a record by its uuid.
func RecordHash(uuid string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, uuid) // never fails
	return h.Sum64()
}
