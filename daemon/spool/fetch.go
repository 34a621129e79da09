package spool

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// What was fetched is kept, so that a line that is cut, or a file that is saved twice, costs no second transfer.
const (
	fetchedBytes = 512 << 20
	fetchedLife  = 7 * 24 * time.Hour
)

// Received is a file of a message that came.
type Received struct {
	Mesh   protocol.MeshID
	Member crypto.PublicKey // the sender
	protocol.FileRef
}

// most is how long the ciphertext can be: what a broker says beyond that fills no disk.
func (r *Received) most() int64 { return r.Size + r.Size>>10 + 4096 }

// name is that of the ciphertext's file. The key is in it: who names another's blob in a message gets no place in its file.
func (r *Received) name() string {
	sum := crypto.Hash(protocol.EncodeBlock("fetched", []byte(r.Mesh), r.Member[:], r.Blob[:], []byte(r.Key)))
	return hex.EncodeToString(sum[:])
}

// Fetch has the whole ciphertext of a file on this disk and returns the content, which was checked to be what the sender signed. It
// goes on where it was cut. moved is called with how many bytes are there.
func (s *Spool) Fetch(ctx context.Context, b *Broker, r *Received, moved func(int64)) (*Content, error) {
	path := filepath.Join(s.in, r.name())
	leave, err := s.claim(ctx, r.name())
	if err != nil {
		return nil, err
	}
	defer leave()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep what is fetched: %w", err)
	}
	if err := s.fill(ctx, b, r, f, moved); err != nil {
		f.Close()
		return nil, err
	}
	os.Chtimes(path, time.Time{}, s.now()) // it is kept from now on
	plain, err := files.Open(io.NewSectionReader(f, 0, r.most()), &r.FileRef)
	if err != nil || !whole(f, r) {
		f.Close()
		s.removeFile(path)
		return nil, protocol.Refuse(protocol.CodeAlarm, "what the broker has is not the file that the sender signed: nothing was saved")
	}
	return &Content{Reader: plain, f: f}, nil
}

// claim waits until nobody else works on the file.
func (s *Spool) claim(ctx context.Context, name string) (leave func(), err error) {
	for {
		s.mu.Lock()
		busy := s.fetches[name]
		if busy == nil {
			done := make(chan struct{})
			s.fetches[name] = done
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.fetches, name)
				close(done)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fill fetches what is missing of a ciphertext. The broker says how long it is, once, within bounds.
func (s *Spool) fill(ctx context.Context, b *Broker, r *Received, f *os.File, moved func(int64)) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	have, tries, anew := info.Size(), 0, false
	if have > r.Size && whole(f, r) {
		return nil
	}
	if have == 0 {
		s.makeRoom(r.most())
	}
	for {
		n, size, err := s.part(ctx, b, r, f, have)
		if have += n; n > 0 {
			tries = 0
			moved(have)
		}
		switch {
		case err == nil && have >= size:
			return nil
		case err == nil:
			continue
		case have > 0 && !anew && protocol.CodeOf(err) == protocol.CodeInvalid: // more is here than the broker has: it is not this file
			anew = true // once: a broker could go on so for ever
			if have, err = 0, f.Truncate(0); err != nil {
				return err
			}
			continue
		}
		if tries++; Final(err) || ctx.Err() != nil || tries >= triesWithoutProgress {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tryAgain):
		}
	}
}

// part fetches one part. What came of one that broke off counts.
func (s *Spool) part(ctx context.Context, b *Broker, r *Received, f *os.File, have int64) (n, size int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	body, size, err := b.get(ctx, r.Member, r.Blob, have)
	if err != nil {
		return 0, 0, err
	}
	defer body.Close()
	if size > r.most() {
		return 0, 0, protocol.Refuse(protocol.CodeAlarm, "the broker has %d bytes for a file of %d", size, r.Size)
	}
	src := &lineErrors{r: body}
	n, err = io.Copy(io.NewOffsetWriter(f, have), src)
	if err != nil && src.err == nil {
		return n, size, store.Classify(err)
	}
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if n > 0 {
		err = nil // go on behind what came
	}
	return n, size, err
}

// whole reports whether a ciphertext is complete and the sender's: it opens to the end.
func whole(f *os.File, r *Received) bool {
	plain, err := files.Open(io.NewSectionReader(f, 0, r.most()), &r.FileRef)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, plain)
	return err == nil
}

// lineErrors tells the errors of a line from those of the disk.
type lineErrors struct {
	r   io.Reader
	err error
}

func (l *lineErrors) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil && err != io.EOF {
		l.err = err
	}
	return n, err
}

// Content is a file that is read.
type Content struct {
	io.Reader
	f *os.File
}

// Close ends the reading.
func (c *Content) Close() error { return c.f.Close() }

// makeRoom removes what was fetched first, until so many bytes have room.
func (s *Spool) makeRoom(need int64) {
	all := s.fetched()
	var sum int64
	for _, f := range all {
		sum += f.size
	}
	for _, f := range all { // oldest first
		if sum+need <= fetchedBytes {
			return
		}
		if !s.busy(f.name) {
			s.removeFile(filepath.Join(s.in, f.name))
			sum -= f.size
		}
	}
}

func (s *Spool) sweepFetched() {
	limit := s.now().Add(-fetchedLife)
	for _, f := range s.fetched() {
		if f.at.Before(limit) && !s.busy(f.name) {
			s.removeFile(filepath.Join(s.in, f.name))
		}
	}
}

func (s *Spool) busy(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches[name] != nil
}
