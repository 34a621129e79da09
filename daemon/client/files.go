package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"

	"github.com/claudemesh/claudemesh/protocol"
)

// StageFile hands a content to the daemon, which keeps it encrypted until a message takes it.
func (c *Client) StageFile(ctx context.Context, name string, content io.Reader) (staged protocol.StagedFile, err error) {
	res, err := c.stream(ctx, http.MethodPost, "/v1/files?"+values("name", name).Encode(), content)
	if err != nil {
		return staged, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxReply)).Decode(&staged); err != nil {
		return staged, unreadable(ctx, "/v1/files", err)
	}
	return staged, nil
}

// File gives the content of file n, from 1 on, of a message. The reader's last error is io.EOF only when all of it came as info says.
// Fetched, which may be nil, is told how many bytes the daemon has.
func (c *Client) File(ctx context.Context, session, id string, n int, info protocol.FileInfo, fetched func(int64)) (io.ReadCloser, error) {
	if fetched != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			if n, err := strconv.ParseInt(h.Get(protocol.FetchedHeader), 10, 64); err == nil {
				fetched(n)
			}
			return nil
		}})
	}
	path := "/v1/inbox/" + url.PathEscape(id) + "/files/" + strconv.Itoa(n)
	if q := values("session", session).Encode(); q != "" {
		path += "?" + q
	}
	res, err := c.stream(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return &checkedFile{body: res.Body, info: info, sum: sha256.New()}, nil
}

// checkedFile ends well only when what came is what was announced.
type checkedFile struct {
	body io.ReadCloser
	info protocol.FileInfo
	sum  hash.Hash
	n    int64
}

var errCut = errors.New("the file breaks off on its way from the daemon: save it again")

func (f *checkedFile) Read(p []byte) (int, error) {
	n, err := f.body.Read(p)
	f.n += int64(n)
	f.sum.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if err != io.EOF || f.n != f.info.Size || hex.EncodeToString(f.sum.Sum(nil)) != f.info.SHA256 {
		return n, errCut
	}
	return n, io.EOF
}

// Close ends the transfer.
func (f *checkedFile) Close() error { return f.body.Close() }

// stream is request for a body that is not JSON.
func (c *Client) stream(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	if body != nil {
		body = io.NopCloser(body) // of the caller's, who closes it
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "make the request: %v", err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	return res, nil
}
