package spool

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	triesWithoutProgress = 3
	tryAgain             = 500 * time.Millisecond
)

// Upload has the broker hold the whole of a file, and goes on where an earlier call was cut. It returns nil only when the broker
// said so. moved is called with how many bytes are there. An error for which Final is false is of the line, or of the moment.
func (s *Spool) Upload(ctx context.Context, b *Broker, f *File, readers []string, moved func(int64)) error {
	content, err := os.Open(s.path(f.Blob))
	if errors.Is(err, fs.ErrNotExist) {
		return protocol.Refuse(protocol.CodeNotFound, "the file %s is not on this machine any more: send it again", f.Name)
	}
	if err != nil {
		return err
	}
	defer content.Close()
	furthest, tries := int64(-1), 0
	for {
		at, err := b.Plan(ctx, f, readers)
		for err == nil && !at.Complete {
			moved(at.Offset)
			if at.Offset > furthest {
				furthest, tries = at.Offset, 0
			}
			before := at.Offset
			if at, err = b.put(ctx, f, content, at.Offset); err == nil && at.Offset <= before {
				err = protocol.Refuse(protocol.CodeInternal, "the broker keeps nothing of the file").RetryAfter(0)
			}
		}
		if err == nil {
			moved(f.Cipher)
			return nil
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
