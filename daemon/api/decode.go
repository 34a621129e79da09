package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	// MaxRequest bounds a request's body: a message of 64 KiB of which every byte is escaped, and its meta, fit twice.
	MaxRequest = 1 << 20
	countMost  = 1 << 30 // bytes of a request that is too long which are counted, to say how long it is
)

var errTooLong = errors.New("the request is too long")

// boundedBody is a request's body that ends with errTooLong after MaxRequest bytes.
type boundedBody struct {
	io.ReadCloser
	read int64
}

func boundBody(r *http.Request) { r.Body = &boundedBody{ReadCloser: r.Body} }

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.read > MaxRequest {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), MaxRequest+1-b.read)])
	if b.read += int64(n); b.read > MaxRequest {
		return n, errTooLong
	}
	return n, err
}

// refuseLong says how long the request is, as far as it is counted.
func (b *boundedBody) refuseLong() error {
	rest, err := io.Copy(io.Discard, io.LimitReader(b.ReadCloser, countMost-b.read))
	size := fmt.Sprint(b.read + rest)
	if err != nil || b.read+rest == countMost {
		size += " or more"
	}
	return protocol.Refuse(protocol.CodePayloadTooLarge, "request of %s bytes, at most %d are possible", size, MaxRequest).
		WithHint("a message has at most %d bytes: send a file", protocol.MaxBody)
}

// decode reads a request's body into v: one object, no name that v does not have, and no text that decoding would change.
func decode(r *http.Request, v any) error {
	b, err := io.ReadAll(r.Body)
	if bounded, ok := r.Body.(*boundedBody); ok && errors.Is(err, errTooLong) {
		return bounded.refuseLong()
	}
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "the request breaks off: %v", err)
	}
	if err := protocol.CheckJSON(b); err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "the request is not text: %v", err).WithHint("send binary data as a file")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "the request is not the JSON that this route takes: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return protocol.Refuse(protocol.CodeInvalid, "something follows the request")
	}
	return nil
}
