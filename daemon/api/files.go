package api

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// fileTable lists the routes of files.
func (d *API) fileTable() map[string]route {
	return map[string]route{
		"POST /v1/files":               d.handleStage,
		"GET /v1/inbox/{id}/files/{n}": d.handleFile,
	}
}

func errNoSpool() error {
	return protocol.Refuse(protocol.CodeStoreFailed, "this daemon has no place for files").WithHint("claudemesh daemon logs says why")
}

// handleStage takes the content of a file, which is the body as it is, and its name from the query.
func (d *API) handleStage(w http.ResponseWriter, r *http.Request) error {
	if d.Env.Files == nil {
		return errNoSpool()
	}
	name := r.URL.Query().Get("name")
	if name == "" {
		return protocol.Refuse(protocol.CodeInvalid, "the file has no name: ?name=…")
	}
	body := io.Reader(r.Body)
	if bounded, ok := r.Body.(*boundedBody); ok {
		body = bounded.ReadCloser // the spool has a limit of its own
	}
	staged, err := d.Env.Files.Stage(name, body)
	if err != nil {
		io.CopyN(io.Discard, body, protocol.MaxFileSize) // else a client that still writes does not read the refusal
		return err
	}
	return reply(w, staged)
}

// handleFile gives the content of a file of a message. While it is fetched the answer is 102 again and again, with how many bytes are
// here. The content was checked before its first byte is given.
func (d *API) handleFile(w http.ResponseWriter, r *http.Request) error {
	if d.Env.Files == nil {
		return errNoSpool()
	}
	id := r.PathValue("id")
	if session := r.FormValue("session"); session != "" {
		s, local, err := d.LiveSession(session)
		if err != nil {
			return err
		}
		msg, err := d.give.Open(s, local, id) // what a session may not read, it may not save
		if err != nil {
			return err
		}
		id = msg.ID
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 1 {
		return protocol.Refuse(protocol.CodeInvalid, "the files of a message have numbers from 1 on")
	}
	received, err := d.fileOf(id, n)
	if err != nil {
		return err
	}
	m, err := d.Mesh(string(received.Mesh))
	if err != nil {
		return protocol.Refuse(protocol.CodeUnavailable, "the mesh of this message does not run here")
	}
	content, err := m.FetchFile(r.Context(), received, progressOf(w))
	if err != nil {
		return err
	}
	defer content.Close()
	giveFile(w, received, content)
	return nil
}

// progressOf tells a client that waits, five times a second at most.
func progressOf(w http.ResponseWriter) func(int64) {
	var mu sync.Mutex
	var last time.Time
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) >= 200*time.Millisecond {
			last = now
			w.Header().Set(protocol.FetchedHeader, strconv.FormatInt(n, 10))
			w.WriteHeader(http.StatusProcessing)
		}
	}
}

func giveFile(w http.ResponseWriter, r *spool.Received, content io.Reader) {
	info := files.Info(r.Name, r.Size, r.SHA256)
	h := w.Header()
	h.Del(protocol.FetchedHeader)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": info.Name}))
	h.Set("Content-Length", strconv.FormatInt(r.Size, 10))
	if _, err := io.Copy(w, content); err != nil {
		panic(http.ErrAbortHandler) // the client sees that it is cut
	}
}

// fileOf finds a file of a message.
func (d *API) fileOf(id string, n int) (found *spool.Received, err error) {
	err = d.DB.View(func(tx *store.Tx) error {
		seq, err := d.Mail.Lookup(tx, id)
		if err != nil {
			return err
		}
		row := d.Mail.Row(tx, table.U64(seq))
		if row == nil || row.Alarm != "" {
			return protocol.Refuse(protocol.CodeNotFound, "no message %q with files", id)
		}
		var msg protocol.Message
		if err := msg.UnmarshalBinary(row.Message); err != nil {
			return protocol.Refuse(protocol.CodeNotFound, "the message is damaged: %v", err)
		}
		refs := msg.Header().Files
		if n > len(refs) {
			return protocol.Refuse(protocol.CodeNotFound, "message %s has %d files", row.ID, len(refs))
		}
		found = &spool.Received{Mesh: row.Mesh, Member: msg.Member(), FileRef: refs[n-1]}
		return nil
	})
	return found, err
}
