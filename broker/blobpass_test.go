package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// blobCall is one request for a blob, as a member who means it makes it; tests change what they lie about.
type blobCall struct {
	pass   protocol.BlobPass
	key    *crypto.PrivateKey // that signs
	host   string             // that is dialled
	id     string             // of the path
	header map[string]string
	body   io.Reader
}

func (p *person) call(verb string, of *person, id protocol.BlobID) *blobCall {
	return &blobCall{
		key: p.key, host: testHost, id: id.String(), header: map[string]string{},
		pass: protocol.BlobPass{
			Mesh: p.w.mesh, Member: p.key.Public(), Host: testHost, Uploader: of.key.Public(), Blob: id, Verb: verb,
			At: p.w.cfg.Now().UnixMilli(), JSON: []byte(`{}`),
		},
	}
}

func (p *person) plan(id protocol.BlobID, size int, readers ...*person) *blobCall {
	c := p.call(protocol.BlobCreate, p, id)
	plan := protocol.BlobPlan{Size: int64(size)}
	for _, r := range readers {
		plan.Readers = append(plan.Readers, r.key.Public().String())
	}
	c.pass.JSON, _ = json.Marshal(plan)
	return c
}

func (p *person) put(id protocol.BlobID, first int, part []byte, size int) *blobCall {
	c := p.call(protocol.BlobPut, p, id)
	c.header["Content-Range"] = fmt.Sprintf("bytes %d-%d/%d", first, first+len(part)-1, size)
	c.body = bytes.NewReader(part)
	return c
}

func (p *person) fetch(of *person, id protocol.BlobID, ask string) *blobCall {
	c := p.call(protocol.BlobGet, of, id)
	c.header["Range"] = ask
	return c
}

var blobMethods = map[string]string{
	protocol.BlobPut: http.MethodPut, protocol.BlobGet: http.MethodGet, protocol.BlobDelete: http.MethodDelete,
}

func (w *world) do(c *blobCall) *httptest.ResponseRecorder {
	w.Helper()
	pass := w.sign(&c.pass, c.key).Text()
	var r *http.Request
	if method, ok := blobMethods[c.pass.Verb]; ok {
		r = httptest.NewRequest(method, "/api/v1/blobs/"+c.id, c.body)
		r.Header.Set("Authorization", protocol.BlobScheme+pass)
	} else {
		body, _ := json.Marshal(protocol.BlobRequest{Pass: pass})
		r = httptest.NewRequest(http.MethodPost, "/api/v1/blobs", bytes.NewReader(body))
	}
	r.Host = c.host
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	w.srv.Handler().ServeHTTP(rec, r)
	return rec
}

func (w *world) wantBlob(c *blobCall, offset int) {
	w.Helper()
	rec := w.do(c)
	var reply protocol.BlobReply
	if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil || rec.Code != http.StatusOK || reply.Offset != int64(offset) {
		w.Fatalf("%s: %d %s, want offset %d", c.pass.Verb, rec.Code, rec.Body, offset)
	}
}

func (w *world) wantNoBlob(c *blobCall, code protocol.Code) {
	w.Helper()
	rec := w.do(c)
	var e httpError
	if json.Unmarshal(rec.Body.Bytes(), &e); rec.Code < 400 || e.Code != code {
		w.Fatalf("%s: %d %.300s, want %s", c.pass.Verb, rec.Code, rec.Body, code)
	}
}

func (w *world) wantContent(c *blobCall, want []byte) {
	w.Helper()
	if rec := w.do(c); rec.Code != http.StatusPartialContent || !bytes.Equal(rec.Body.Bytes(), want) {
		w.Fatalf("got %d, %d bytes %.100s, want %d bytes", rec.Code, rec.Body.Len(), rec.Body, len(want))
	}
}

// uploaded has p upload a blob for readers.
func (w *world) uploaded(p *person, content []byte, readers ...*person) protocol.BlobID {
	w.Helper()
	id := protocol.NewBlobID()
	w.wantBlob(p.plan(id, len(content), readers...), 0)
	w.wantBlob(p.put(id, 0, content, len(content)), len(content))
	return id
}

func (w *world) blobFiles() int {
	w.Helper()
	entries, err := os.ReadDir(filepath.Join(w.cfg.Dir, "blobs"))
	if err != nil {
		w.Fatal(err)
	}
	return len(entries)
}

// sweepsFiles waits until the broker looked what is over.
func sweepsFiles() {
	time.Sleep(2 * sweepEvery)
	synctest.Wait()
}

// Alice uploads in parts, of which one breaks off and one is repeated, and the broker is killed in between. Bob reads ranges.
func TestBlobStory(t *testing.T) {
	for name, again := range map[string]func(*world){"killed": (*world).crash, "restarted": (*world).restart} {
		t.Run(name, func(t *testing.T) {
			story(t, Limits{}, func(w *world) {
				content := crypto.RandomBytes(100_000)
				id := protocol.NewBlobID()
				w.wantBlob(w.alice.plan(id, len(content), w.bob), 0)
				w.wantBlob(w.alice.put(id, 0, content[:40_000], len(content)), 40_000)
				w.wantNoBlob(w.bob.fetch(w.alice, id, "bytes=0-"), protocol.CodeNotFound) // it is not complete
				cut := w.alice.put(id, 40_000, content[40_000:], len(content))
				cut.body = io.MultiReader(bytes.NewReader(content[40_000:50_000]), iotest.ErrReader(io.ErrUnexpectedEOF))
				w.wantBlob(cut, 50_000)
				again(w)
				w.wantBlob(w.alice.plan(id, len(content), w.bob), 50_000)
				w.wantBlob(w.alice.put(id, 40_000, content[40_000:], len(content)), 50_000) // changes nothing
				w.wantBlob(w.alice.put(id, 50_000, content[50_000:], len(content)), 100_000)
				again(w)
				w.wantBlob(w.alice.put(id, 0, make([]byte, 10), len(content)), 100_000) // it never changes again
				w.wantContent(w.bob.fetch(w.alice, id, "bytes=0-"), content)
				w.wantContent(w.bob.fetch(w.alice, id, "bytes=99990-"), content[99_990:])
				w.wantContent(w.bob.fetch(w.alice, id, "bytes=5-9"), content[5:10])
				w.wantContent(w.alice.fetch(w.alice, id, "bytes=0-0"), content[:1])
				if c := w.alice.call(protocol.BlobDelete, w.alice, id); w.do(c).Code != http.StatusOK {
					t.Error("alice cannot withdraw it")
				}
				w.wantNoBlob(w.bob.fetch(w.alice, id, "bytes=0-"), protocol.CodeNotFound)
				if n := w.blobFiles(); n != 0 {
					t.Errorf("%d files are left", n)
				}
			})
		})
	}
}

// A part that was written and not acknowledged, as a power cut leaves it, is no part of the blob; nor is a file that no row tells of.
func TestBlobFilesBelieveRows(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		id := protocol.NewBlobID()
		w.wantBlob(w.alice.plan(id, 10, w.bob), 0)
		w.wantBlob(w.alice.put(id, 0, []byte("01234"), 10), 5)
		whole := w.uploaded(w.alice, []byte("whole"), w.bob)
		entries, _ := os.ReadDir(filepath.Join(w.cfg.Dir, "blobs"))
		w.close()
		for _, e := range entries {
			path := filepath.Join(w.cfg.Dir, "blobs", e.Name())
			if b, _ := os.ReadFile(path); string(b) == "01234" {
				os.WriteFile(path, []byte("01234junk"), 0o600)
			} else {
				os.WriteFile(path, []byte("who"), 0o600) // the disk lost something
			}
		}
		os.WriteFile(filepath.Join(w.cfg.Dir, "blobs", "stray"), []byte("x"), 0o600)
		w.open()
		w.wantBlob(w.alice.put(id, 5, []byte("56789"), 10), 10)
		w.wantContent(w.bob.fetch(w.alice, id, "bytes=0-"), []byte("0123456789"))
		w.wantNoBlob(w.bob.fetch(w.alice, whole, "bytes=0-"), protocol.CodeNotFound)
		if n := w.blobFiles(); n != 1 {
			t.Errorf("%d files", n)
		}
	})
}

// Who may not, and what a pass is not good for.
func TestBlobAuthority(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		content := []byte("sealed")
		id := w.uploaded(w.alice, content, w.bob)
		get := func(p *person) *blobCall { return p.fetch(w.alice, id, "bytes=0-") }
		w.wantContent(get(w.bob), content)
		for name, c := range map[string]struct {
			edit func(c *blobCall)
			code protocol.Code
		}{
			"another verb":      {func(c *blobCall) { c.pass.Verb = protocol.BlobPut; c.body = strings.NewReader("x") }, protocol.CodeForbidden},
			"another blob":      {func(c *blobCall) { c.id = protocol.NewBlobID().String() }, protocol.CodeForbidden},
			"a path":            {func(c *blobCall) { c.id = "..%2f..%2fbroker.db" }, protocol.CodeForbidden},
			"another broker":    {func(c *blobCall) { c.pass.Host = "evil.example" }, protocol.CodeUnauthorized},
			"an hour ago":       {func(c *blobCall) { c.pass.At -= time.Hour.Milliseconds() }, protocol.CodeTimestamp},
			"an hour ahead":     {func(c *blobCall) { c.pass.At += time.Hour.Milliseconds() }, protocol.CodeTimestamp},
			"another mesh":      {func(c *blobCall) { c.pass.Mesh = protocol.MeshID(strings.Repeat("0", 32)) }, protocol.CodeNotMember},
			"bob's own blob":    {func(c *blobCall) { c.pass.Uploader = w.bob.key.Public() }, protocol.CodeNotFound},
			"no range":          {func(c *blobCall) { c.header["Range"] = "" }, protocol.CodeInvalid},
			"many ranges":       {func(c *blobCall) { c.header["Range"] = "bytes=0-1,2-3,0-1" }, protocol.CodeInvalid},
			"a range backwards": {func(c *blobCall) { c.header["Range"] = "bytes=3-1" }, protocol.CodeInvalid},
			"from the end":      {func(c *blobCall) { c.header["Range"] = "bytes=-5" }, protocol.CodeInvalid},
			"beyond the end":    {func(c *blobCall) { c.header["Range"] = "bytes=6-" }, protocol.CodeInvalid},
			"a huge range":      {func(c *blobCall) { c.header["Range"] = "bytes=99999999999999999999-" }, protocol.CodeInvalid},
		} {
			call := get(w.bob)
			c.edit(call)
			if c.code == protocol.CodeForbidden && call.pass.Verb == protocol.BlobPut { // a put pass on the route of get
				pass := w.sign(&call.pass, call.key).Text()
				r := httptest.NewRequest(http.MethodGet, "/api/v1/blobs/"+call.id, nil)
				r.Host = testHost
				r.Header.Set("Authorization", protocol.BlobScheme+pass)
				rec := httptest.NewRecorder()
				w.srv.Handler().ServeHTTP(rec, r)
				if rec.Code != http.StatusForbidden {
					t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
				}
				continue
			}
			t.Log(name)
			w.wantNoBlob(call, c.code)
		}
		w.wantNoBlob(get(w.cathy), protocol.CodeNotFound) // no reader: she does not even learn that it is there
		w.wantNoBlob(get(w.stranger("mallory")), protocol.CodeNotMember)
		for _, c := range []*blobCall{
			w.bob.call(protocol.BlobDelete, w.alice, id), w.bob.call(protocol.BlobPut, w.alice, id), w.bob.call(protocol.BlobCreate, w.alice, id),
		} {
			w.wantNoBlob(c, protocol.CodeForbidden)
		}
		// Bob may have an id of alice's: it is another blob.
		w.wantBlob(w.bob.plan(id, 3, w.cathy), 0)
		w.wantContent(get(w.bob), content)
		// A plan that was kept is not changed: neither by another size nor by other readers.
		w.wantNoBlob(w.alice.plan(id, 6, w.bob, w.cathy), protocol.CodeExists)
		w.wantNoBlob(w.alice.plan(id, 7, w.bob), protocol.CodeExists)
		for _, junk := range []string{"", "Bearer x", protocol.BlobScheme + "AAAA", protocol.BlobScheme + w.charter.Text()} {
			r := httptest.NewRequest(http.MethodGet, "/api/v1/blobs/"+id.String(), nil)
			r.Host = testHost
			r.Header.Set("Authorization", junk)
			rec := httptest.NewRecorder()
			if w.srv.Handler().ServeHTTP(rec, r); rec.Code != http.StatusUnauthorized {
				t.Errorf("%q: %d %s", junk, rec.Code, rec.Body)
			}
		}
	})
}

// Who came by a link and is not admitted uploads nothing, and may read what somebody sent him by name.
func TestBlobOfTheInvited(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		dave := w.stranger("dave")
		invite, enrol := w.invite(dave, time.Hour)
		if status, reply := w.join(invite, enrol, 0); status != http.StatusOK {
			t.Fatal(status, reply)
		}
		w.wantNoBlob(dave.plan(protocol.NewBlobID(), 3, w.bob), protocol.CodeForbidden)
		id := w.uploaded(w.alice, []byte("abc"), dave)
		w.wantContent(dave.fetch(w.alice, id, "bytes=0-"), []byte("abc"))
		time.Sleep(2 * time.Hour) // the link is over
		w.wantNoBlob(dave.fetch(w.alice, id, "bytes=0-"), protocol.CodeNotMember)
		sweepsFiles()
		if n := w.blobFiles(); n != 0 {
			t.Errorf("%d files of which nobody is a reader any more", n)
		}
	})
}

// What a removed member sent is over, and he reads nothing.
func TestBlobsOfTheRemoved(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		id := w.uploaded(w.alice, []byte("abc"), w.bob)
		bobs := w.uploaded(w.bob, []byte("xyz"), w.alice)
		revoke := protocol.OfferRequest{Mesh: w.mesh, Statements: []string{w.revoke(w.bob.key.Public()).Text()}}
		if status, body := w.post("/api/v1/statements", "", revoke); status != http.StatusOK {
			t.Fatal(status, body)
		}
		w.wantNoBlob(w.bob.fetch(w.alice, id, "bytes=0-"), protocol.CodeRevoked)
		w.wantNoBlob(w.bob.plan(protocol.NewBlobID(), 3, w.alice), protocol.CodeRevoked)
		w.wantNoBlob(w.alice.fetch(w.bob, bobs, "bytes=0-"), protocol.CodeNotFound)
		sweepsFiles()
		if n := w.blobFiles(); n != 0 {
			t.Errorf("%d files are left", n)
		}
	})
}

// Time ends what is complete after a week, and an upload that does not go on after a day.
func TestBlobsEnd(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		half := protocol.NewBlobID()
		w.wantBlob(w.alice.plan(half, 10, w.bob), 0)
		w.wantBlob(w.alice.put(half, 0, []byte("01234"), 10), 5)
		id := w.uploaded(w.alice, []byte("abc"), w.bob)
		time.Sleep(25 * time.Hour)
		w.wantNoBlob(w.alice.put(half, 5, []byte("56789"), 10), protocol.CodeNotFound)
		w.wantContent(w.bob.fetch(w.alice, id, "bytes=0-"), []byte("abc"))
		time.Sleep(6 * 24 * time.Hour)
		w.wantNoBlob(w.bob.fetch(w.alice, id, "bytes=0-"), protocol.CodeNotFound)
		if n := w.blobFiles(); n != 0 {
			t.Errorf("%d files are left", n)
		}
	})
}

// Limits hold before the first byte, for uploads at the same time as well, and what goes gives its room back.
func TestBlobQuotas(t *testing.T) {
	limits := Limits{FileBytes: 100, MemberFileBytes: 250, MemberFiles: 3, MeshFileBytes: 400}
	story(t, limits, func(w *world) {
		plan := func(p *person, size int) *blobCall { return p.plan(protocol.NewBlobID(), size, w.cathy) }
		for _, size := range []int{0, -1, 101, 1 << 40} {
			w.wantNoBlob(plan(w.alice, size), protocol.CodePayloadTooLarge)
		}
		id := w.uploaded(w.alice, make([]byte, 100), w.cathy)
		w.wantBlob(plan(w.alice, 100), 0)
		w.wantNoBlob(plan(w.alice, 51), protocol.CodeQuota)
		w.wantBlob(plan(w.alice, 1), 0)
		w.wantNoBlob(plan(w.alice, 1), protocol.CodeQuota) // the fourth
		w.wantBlob(plan(w.bob, 100), 0)
		w.wantNoBlob(plan(w.bob, 100), protocol.CodeQuota) // of the mesh
		w.restart()
		w.wantNoBlob(plan(w.alice, 1), protocol.CodeQuota)
		w.do(w.alice.call(protocol.BlobDelete, w.alice, id))
		w.wantBlob(plan(w.alice, 100), 0)
	})
	story(t, Limits{MemberFileBytes: 1000, FileBytes: 100}, func(w *world) {
		var mu sync.Mutex
		taken := 0
		var all sync.WaitGroup
		for range 50 {
			c := w.alice.plan(protocol.NewBlobID(), 100, w.bob)
			all.Go(func() {
				rec := w.do(c)
				mu.Lock()
				defer mu.Unlock()
				if rec.Code == http.StatusOK {
					taken++
				}
			})
		}
		all.Wait()
		if taken != 10 {
			t.Errorf("%d of 50 uploads at the same time were taken, want 10", taken)
		}
	})
}

// A part bears what it says and no more.
func TestBlobParts(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		id := protocol.NewBlobID()
		w.wantBlob(w.alice.plan(id, 10, w.bob), 0)
		for name, c := range map[string]func(c *blobCall){
			"no range":     func(c *blobCall) { delete(c.header, "Content-Range") },
			"negative":     func(c *blobCall) { c.header["Content-Range"] = "bytes -5-4/10" },
			"backwards":    func(c *blobCall) { c.header["Content-Range"] = "bytes 4-2/10" },
			"too large":    func(c *blobCall) { c.header["Content-Range"] = "bytes 0-4194304/99999999" },
			"gzip":         func(c *blobCall) { c.header["Content-Encoding"] = "gzip" },
			"another unit": func(c *blobCall) { c.header["Content-Range"] = "lines 0-4/10" },
		} {
			call := w.alice.put(id, 0, []byte("01234"), 10)
			c(call)
			t.Log(name)
			w.wantNoBlob(call, protocol.CodeInvalid)
		}
		long := w.alice.put(id, 0, []byte("01234"), 10)
		long.body = strings.NewReader("0123456789abcdef")
		w.wantBlob(long, 5)
		beyond := w.alice.put(id, 5, []byte("56789"), 10)
		beyond.header["Content-Range"] = "bytes 5-99/100"
		beyond.body = strings.NewReader("56789abcdef")
		w.wantBlob(beyond, 10)
		w.wantContent(w.bob.fetch(w.alice, id, "bytes=0-"), []byte("0123456789"))
	})
}

// A member who opens many uploads and sends nothing holds four, and keeps nobody else out.
func TestBlobTransfersAtOnce(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		block, unblock := io.Pipe()
		var all sync.WaitGroup
		for range blobTransfers {
			id := protocol.NewBlobID()
			w.wantBlob(w.alice.plan(id, 10, w.bob), 0)
			c := w.alice.put(id, 0, []byte("01234"), 10)
			c.body = block
			all.Go(func() { w.do(c) })
		}
		synctest.Wait()
		id := protocol.NewBlobID()
		w.wantBlob(w.alice.plan(id, 10, w.bob), 0)
		w.wantNoBlob(w.alice.put(id, 0, []byte("01234"), 10), protocol.CodeRateLimit)
		w.uploaded(w.bob, []byte("bob's"), w.cathy)
		unblock.Close()
		all.Wait()
		w.wantBlob(w.alice.put(id, 0, []byte("01234"), 10), 5)
	})
}

// A deleted mesh takes its files with it: see TestDeleteMesh for the rest.
func TestBlobsOfADeletedMesh(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		w.uploaded(w.alice, []byte("abc"), w.bob)
		if err := w.srv.blobs.DropMesh(w.mesh); err != nil || w.blobFiles() != 0 {
			t.Errorf("%v, %d files are left", err, w.blobFiles())
		}
	})
}
