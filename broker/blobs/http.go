package blobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// API serves the routes of blobs. Its functions are the broker's: who may do what is decided there.
type API struct {
	Store  *Store
	Enter  func(r *http.Request, pass string) (*protocol.BlobPass, error) // checks a pass: signature, host, time, membership
	Enough func(pass *protocol.BlobPass) (leave func(), err error)        // bounds what one member does at once
	Reply  func(w http.ResponseWriter, v any)
	Refuse func(w http.ResponseWriter, err error)
}

// Routes lists the handlers by pattern.
func (a *API) Routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /api/v1/blobs":        a.create,
		"PUT /api/v1/blobs/{id}":    a.with(protocol.BlobPut, a.put),
		"GET /api/v1/blobs/{id}":    a.with(protocol.BlobGet, a.get),
		"DELETE /api/v1/blobs/{id}": a.with(protocol.BlobDelete, a.delete),
	}
}

// maxCreate is the base64 of the longest statement, with the JSON around it.
const maxCreate = 2 * protocol.MaxStatement

// create reserves a blob. The pass stands in the body: its readers may be more than a header takes.
func (a *API) create(w http.ResponseWriter, r *http.Request) {
	var req protocol.BlobRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCreate)).Decode(&req); err != nil {
		a.Refuse(w, protocol.Refuse(protocol.CodeBadFrame, "the body is not of its shape"))
		return
	}
	pass, err := a.Enter(r, req.Pass)
	if err == nil {
		err = own(pass, protocol.BlobCreate)
	}
	var reply protocol.BlobReply
	if err == nil {
		var size int64
		var readers []crypto.PublicKey
		if size, readers, err = planOf(pass); err == nil {
			reply, err = a.Store.Create(nameIn(pass), size, readers)
		}
	}
	if err != nil {
		a.Refuse(w, err)
		return
	}
	a.Reply(w, reply)
}

func planOf(pass *protocol.BlobPass) (int64, []crypto.PublicKey, error) {
	var plan protocol.BlobPlan
	if err := json.Unmarshal(pass.JSON, &plan); err != nil || len(plan.Readers) == 0 {
		return 0, nil, protocol.Refuse(protocol.CodeInvalid, "the plan of a blob has a size and readers")
	}
	readers := make([]crypto.PublicKey, 0, len(plan.Readers))
	for _, text := range plan.Readers {
		key, err := crypto.ParsePublicKey(text)
		if err != nil {
			return 0, nil, protocol.Refuse(protocol.CodeInvalid, "a reader is a member's key")
		}
		readers = append(readers, key)
	}
	slices.SortFunc(readers, func(a, b crypto.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	if len(slices.Compact(slices.Clone(readers))) != len(readers) {
		return 0, nil, protocol.Refuse(protocol.CodeInvalid, "a reader is named twice")
	}
	return plan.Size, readers, nil
}

func nameIn(pass *protocol.BlobPass) Name {
	return Name{Mesh: pass.Mesh, Uploader: pass.Uploader, Blob: pass.Blob}
}

// own refuses a pass for something else, or for somebody else's blob.
func own(pass *protocol.BlobPass, verb string) error {
	if pass.Verb != verb {
		return protocol.Refuse(protocol.CodeForbidden, "the pass is not for %s", verb)
	}
	if verb != protocol.BlobGet && pass.Uploader != pass.Member {
		return protocol.Refuse(protocol.CodeForbidden, "the blob is another member's")
	}
	return nil
}

// with serves a route whose pass stands in the header.
func (a *API) with(verb string, do func(http.ResponseWriter, *http.Request, Name, *protocol.BlobPass) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, _ := strings.CutPrefix(r.Header.Get("Authorization"), protocol.BlobScheme)
		pass, err := a.Enter(r, text)
		if err == nil {
			err = own(pass, verb)
		}
		if err == nil && pass.Blob.String() != r.PathValue("id") {
			err = protocol.Refuse(protocol.CodeForbidden, "the pass is for another blob")
		}
		if err == nil {
			var leave func()
			if leave, err = a.Enough(pass); err == nil {
				defer leave()
				err = do(w, r, nameIn(pass), pass)
			}
		}
		if err != nil {
			a.Refuse(w, err)
		}
	}
}

// put appends the body at the offset that Content-Range names. How long a body may take is the server's read timeout; what came by
// then stays.
func (a *API) put(w http.ResponseWriter, r *http.Request, name Name, _ *protocol.BlobPass) error {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return protocol.Refuse(protocol.CodeInvalid, "a part has no content encoding")
	}
	var first, last, size int64
	n, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
	if n != 3 || err != nil || first < 0 || last < first || last >= size || last-first >= protocol.BlobPart {
		return protocol.Refuse(protocol.CodeInvalid, "a part names its bytes: Content-Range: bytes first-last/size, at most %d of them", protocol.BlobPart)
	}
	reply, err := a.Store.Append(name, first, http.MaxBytesReader(w, r.Body, last-first+1))
	if err != nil && !reply.OK {
		return err
	}
	a.Reply(w, reply) // a part that broke off as well: most likely nobody hears it
	return nil
}

// get gives one range of at most BlobPart bytes.
func (a *API) get(w http.ResponseWriter, r *http.Request, name Name, pass *protocol.BlobPass) error {
	f, size, err := a.Store.Read(name, pass.Member)
	if err != nil {
		return err
	}
	defer f.Close()
	first, last, err := rangeOf(r.Header.Get("Range"), size)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
	h.Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	w.WriteHeader(http.StatusPartialContent)
	io.Copy(w, io.NewSectionReader(f, first, last-first+1)) // an error means that the client went away
	return nil
}

// rangeOf reads `bytes=first-` or `bytes=first-last`: one range, never more than a part.
func rangeOf(header string, size int64) (first, last int64, err error) {
	errRange := protocol.Refuse(protocol.CodeInvalid, "ask for one range: bytes=first-last, within %d bytes", size)
	text, ok := strings.CutPrefix(header, "bytes=")
	from, to, dash := strings.Cut(text, "-")
	if !ok || !dash {
		return 0, 0, errRange
	}
	if first, err = number(from); err != nil || first >= size {
		return 0, 0, errRange
	}
	last = size - 1
	if to != "" {
		if last, err = number(to); err != nil || last < first {
			return 0, 0, errRange
		}
	}
	return first, min(last, size-1, first+protocol.BlobPart-1), nil
}

func number(text string) (int64, error) {
	if text == "" || slices.ContainsFunc([]byte(text), func(c byte) bool { return c < '0' || c > '9' }) {
		return 0, errors.New("not a number")
	}
	return strconv.ParseInt(text, 10, 62)
}

func (a *API) delete(w http.ResponseWriter, _ *http.Request, name Name, _ *protocol.BlobPass) error {
	if err := a.Store.Delete(name); err != nil {
		return err
	}
	a.Reply(w, protocol.OKReply{OK: true})
	return nil
}
