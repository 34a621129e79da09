package spool

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/protocol"
)

// partTimeout is for one part, both ways. A slow line moves what it can in it, and goes on with the next.
const partTimeout = 2 * time.Minute

// withdrawTimeout is for the removal of a blob, which nobody waits for.
const withdrawTimeout = 20 * time.Second

// Broker is a member at the broker of a mesh.
type Broker struct {
	HTTP *brokerhttp.Dialer
	URL  string
	Mesh protocol.MeshID
	Key  *crypto.PrivateKey
	Now  func() time.Time
}

// Plan reserves the room of a blob, or tells how far its upload came.
func (b *Broker) Plan(ctx context.Context, f *File, readers []string) (reply protocol.BlobReply, err error) {
	plan, err := json.Marshal(protocol.BlobPlan{Size: f.Cipher, Readers: readers})
	if err != nil {
		return reply, fmt.Errorf("encode a plan: %w", err)
	}
	pass, err := b.pass(protocol.BlobCreate, b.Key.Public(), f.Blob, plan)
	if err != nil {
		return reply, err
	}
	err = b.HTTP.Post(ctx, b.URL, "/api/v1/blobs", "", protocol.BlobRequest{Pass: pass}, &reply)
	if err == nil && (reply.Size != f.Cipher || reply.Offset < 0 || reply.Offset > f.Cipher) {
		err = protocol.Refuse(protocol.CodeInternal, "the broker does not know what it has of the file").RetryAfter(0)
	}
	return reply, err
}

func (b *Broker) pass(verb string, uploader crypto.PublicKey, blob protocol.BlobID, args []byte) (string, error) {
	s, err := protocol.Sign(&protocol.BlobPass{
		Mesh: b.Mesh, Member: b.Key.Public(), Host: protocol.BrokerHost(b.URL), Uploader: uploader, Blob: blob,
		At: b.Now().UnixMilli(), Verb: verb, JSON: args,
	}, b.Key)
	if err != nil {
		return "", err
	}
	return s.Text(), nil
}

// request makes one for a blob, with a pass.
func (b *Broker) request(ctx context.Context, method, verb string, uploader crypto.PublicKey, blob protocol.BlobID, body io.Reader) (*http.Request, error) {
	pass, err := b.pass(verb, uploader, blob, []byte("{}"))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, protocol.HTTPBase(b.URL)+"/api/v1/blobs/"+blob.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Authorization", protocol.BlobScheme+pass)
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}

// put sends the part of content that begins at offset, and returns how far the broker is.
func (b *Broker) put(ctx context.Context, f *File, content io.ReaderAt, offset int64) (reply protocol.BlobReply, err error) {
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	n := min(protocol.BlobPart, f.Cipher-offset)
	req, err := b.request(ctx, http.MethodPut, protocol.BlobPut, b.Key.Public(), f.Blob, io.NewSectionReader(content, offset, n))
	if err != nil {
		return reply, err
	}
	req.ContentLength = n
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+n-1, f.Cipher))
	err = b.HTTP.Exchange(ctx, b.URL, req, &reply)
	return reply, err
}

// Withdraw removes a blob of ours from the broker.
func (b *Broker) Withdraw(ctx context.Context, blob protocol.BlobID) error {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	req, err := b.request(ctx, http.MethodDelete, protocol.BlobDelete, b.Key.Public(), blob, nil)
	if err != nil {
		return err
	}
	return b.HTTP.Exchange(ctx, b.URL, req, new(protocol.OKReply))
}

// get asks for what stands behind offset. The caller closes the body.
func (b *Broker) get(ctx context.Context, uploader crypto.PublicKey, blob protocol.BlobID, offset int64) (body io.ReadCloser, size int64, err error) {
	req, err := b.request(ctx, http.MethodGet, protocol.BlobGet, uploader, blob, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	res, err := b.HTTP.Open(ctx, b.URL, req)
	if err != nil {
		return nil, 0, err
	}
	var first, last int64
	n, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
	if n != 3 || err != nil || first != offset || last < first || last >= size || res.Header.Get("Content-Encoding") != "" {
		res.Body.Close()
		return nil, 0, protocol.Refuse(protocol.CodeInternal, "the broker gave another part of the file than it was asked for").RetryAfter(0)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, last-first+1), res.Body}, size, nil
}

// Final reports whether a refusal of the broker's stays: the same request will not be taken later.
func Final(err error) bool {
	switch protocol.CodeOf(err) {
	case protocol.CodeQuota, protocol.CodePayloadTooLarge, protocol.CodeForbidden, protocol.CodeNotMember, protocol.CodeExists,
		protocol.CodeRevoked, protocol.CodeInvalid, protocol.CodeBadStatement, protocol.CodeNotFound, protocol.CodeNotSupported:
		return true
	}
	return brokerhttp.NoSuchPath(err)
}
