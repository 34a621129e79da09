package mesh

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

const (
	// maxFileReaders is how many members a statement that names the readers of a file has room for.
	maxFileReaders = 900

	// planPatience is how long a message with files waits for the broker's word on its room, while there is a connection.
	planPatience = 5 * time.Second

	// deadFilesKept is how long the files of a message that died wait for `outbox requeue`.
	deadFilesKept = 24 * time.Hour
)

// uploading is what is known of uploads on their way.
type uploading struct {
	wakes chan struct{} // one slot: there may be something to upload, or something that is not needed any more

	mu    sync.Mutex
	moved map[protocol.BlobID]int64 // bytes that the broker has
}

func newUploading() *uploading {
	return &uploading{wakes: make(chan struct{}, 1), moved: make(map[protocol.BlobID]int64)}
}

func (u *uploading) wake() {
	select {
	case u.wakes <- struct{}{}:
	default:
	}
}

func (u *uploading) set(blob protocol.BlobID, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.moved[blob] = n
}

func (u *uploading) get(blob protocol.BlobID) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.moved[blob]
}

func (u *uploading) forget(blob protocol.BlobID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.moved, blob)
}

// fileBroker is this member at the broker, for files.
func (m *Mesh) fileBroker() *spool.Broker {
	return &spool.Broker{HTTP: m.env.Broker, URL: m.cfg.BrokerURL, Mesh: m.meshID, Key: m.key, Now: m.env.now}
}

// FetchFile returns the content of a file that came, which was checked to be what its sender signed.
func (m *Mesh) FetchFile(ctx context.Context, r *spool.Received, moved func(int64)) (*spool.Content, error) {
	return m.env.Files.Fetch(ctx, m.fileBroker(), r, moved)
}

// addFiles finds the files that a draft names, and asks the broker for their room where it can be asked: a refusal that stays is the
// sender's to hear before anything is sent.
func (m *Mesh) addFiles(ctx context.Context, d *draft) error {
	if len(d.fileIDs) == 0 {
		return nil
	}
	if m.env.Files == nil || !m.trust.View().Verified(m.self) {
		return protocol.Refuse(protocol.CodeForbidden, "you are not admitted to %s yet: no files are possible", m.Slug())
	}
	for _, r := range d.people {
		if m.isAPIKey(r.Key) {
			return protocol.Refuse(protocol.CodeInvalid, "%s is an API key, and those take no files", r.Name)
		}
	}
	readers := m.readersOf(d.people)
	if len(readers) > maxFileReaders {
		return protocol.Refuse(protocol.CodePayloadTooLarge, "%d recipients, and a file goes to at most %d", len(readers), maxFileReaders)
	}
	var err error
	if d.files, d.refs, err = m.env.Files.Staged(d.fileIDs); err != nil {
		return err
	}
	if _, err := m.control.open(); err != nil {
		return nil // offline is normal
	}
	ctx, cancel := context.WithTimeout(ctx, planPatience)
	defer cancel()
	for i := range d.files {
		if _, err := m.fileBroker().Plan(ctx, &d.files[i], readers); spool.Final(err) {
			for _, f := range d.files[:i] { // nothing is sent: the room is free again
				m.withdraw(ctx, f.Blob)
			}
			return transferRefusal(err)
		}
	}
	return nil
}

// withoutKeys are files as a row of the outbox tells of them: their keys are in the sealed message alone.
func withoutKeys(all []spool.File) []spool.File {
	all = slices.Clone(all)
	for i := range all {
		all[i].Key = ""
	}
	return all
}

// transferRefusal is an error of a transfer as people see it.
func transferRefusal(err error) *protocol.Error {
	if brokerhttp.NoSuchPath(err) {
		return protocol.Refuse(protocol.CodeNotSupported, "the broker takes no files").WithHint("its operator has to upgrade it")
	}
	return asError(err)
}

func asError(err error) *protocol.Error {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e
	}
	return protocol.Refuse(protocol.CodeUnavailable, "%v", err).RetryAfter(0)
}

// readersOf lists the members who may read what is sent to people, in the same order each time.
func (m *Mesh) readersOf(people []outRecipient) []string {
	readers := make([]string, 0, len(people)+1)
	for _, r := range people {
		readers = append(readers, r.Member.String())
	}
	if len(readers) == 0 {
		readers = append(readers, m.self.String())
	}
	slices.Sort(readers)
	return slices.Compact(readers)
}

// runUploads uploads files, and forgets what is not needed any more, until ctx ends.
func (m *Mesh) runUploads(ctx context.Context) {
	for {
		m.sweepFiles(ctx)
		item, later := (*outItem)(nil), time.Time{}
		if _, err := m.control.open(); err == nil {
			item, later = m.out.nextUpload()
		}
		if item != nil {
			m.upload(ctx, item)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		var due <-chan time.Time
		if !later.IsZero() {
			due = time.After(time.Until(later))
		}
		select {
		case <-ctx.Done():
			return
		case <-m.uploads.wakes:
		case <-due:
		}
	}
}

// upload has the broker hold the files of a message; then the message may go.
func (m *Mesh) upload(ctx context.Context, item *outItem) {
	row, err := m.rowOf(item.id)
	if err != nil || row == nil || row.Stage != stagePending {
		m.out.drop(map[string]bool{item.id: true})
		m.wakeOut(item.from)
		return
	}
	readers := m.readersOf(row.Recipients)
	for i := range row.Files {
		f := &row.Files[i]
		err := m.env.Files.Upload(ctx, m.fileBroker(), f, readers, func(n int64) { m.uploads.set(f.Blob, n) })
		switch {
		case ctx.Err() != nil:
			return
		case spool.Final(err):
			m.endUpload(ctx, item, transferRefusal(err))
			return
		case err != nil:
			m.log.Info("upload interrupted", "msg", row.ID, "err", err)
			m.out.retryUpload(row.ID, asError(err))
			m.out.notify()
			return
		}
	}
	m.out.lift(row.ID)
	m.wakeOut(row.From)
}

// endUpload ends a message whose files the broker does not take. Those that it took already are withdrawn.
func (m *Mesh) endUpload(ctx context.Context, item *outItem, why *protocol.Error) {
	id, blobs := item.id, []protocol.BlobID(nil)
	err := m.env.DB.Commit(func(tx *store.Tx) error {
		n, row, err := m.out.rowOf(tx, id)
		if err != nil || row == nil || row.Stage != stagePending {
			return err
		}
		blobs = nil
		for _, f := range row.Files {
			blobs = append(blobs, f.Blob)
		}
		m.endRow(row, protocol.ProofBroker, string(why.Code)+": "+why.Message)
		return m.saveRow(tx, n, row)
	})
	if err != nil {
		m.log.Warn("end a message with files", "msg", id, "err", err)
		m.out.retryUpload(id, why)
		return
	}
	m.out.drop(map[string]bool{id: true})
	m.wakeOut(item.from) // what waits behind it may go
	m.env.Events.Wake()
	m.out.notify()
	for _, blob := range blobs {
		m.withdraw(ctx, blob)
	}
}

// sweepFiles forgets files whose message the broker has, or is over. What lies at the broker for a message that died is withdrawn.
func (m *Mesh) sweepFiles(ctx context.Context) {
	if m.env.Files == nil {
		return
	}
	limit := m.env.now().Add(-deadFilesKept).UnixMilli()
	var dead []protocol.BlobID
	err := m.env.Files.Sweep(func(tx *store.Tx, f *spool.File) bool {
		if f.Mesh != m.meshID {
			return true
		}
		_, row, err := m.out.rowOf(tx, f.Message)
		if err != nil {
			return true
		}
		keep := row != nil && (row.Stage == stagePending || row.Stage == stageDead && row.Died >= limit)
		if !keep {
			m.uploads.forget(f.Blob)
		}
		if !keep && row != nil && row.Stage == stageDead && !slices.Contains(dead, f.Blob) {
			dead = append(dead, f.Blob)
		}
		return keep
	})
	if err != nil {
		m.log.Warn("forget files", "err", err)
	}
	for _, blob := range dead {
		m.withdraw(ctx, blob)
	}
}

// withdraw removes a blob from the broker, if the broker is there. Otherwise the blob goes by itself when its time is over.
func (m *Mesh) withdraw(ctx context.Context, blob protocol.BlobID) {
	if _, err := m.control.open(); err != nil {
		return
	}
	if err := m.fileBroker().Withdraw(ctx, blob); err != nil && !spool.Final(err) {
		m.log.Info("file not withdrawn", "blob", blob, "err", err)
	}
}

// sentFiles are the files of a row as callers see them.
func (m *Mesh) sentFiles(row *outRow) (all []protocol.SentFile) {
	for _, f := range row.Files {
		sent := protocol.SentFile{FileInfo: files.Info(f.Name, f.Size, f.SHA256)}
		switch row.Stage {
		case stageQueued:
			sent.Uploaded = f.Size
		case stagePending:
			sent.Uploaded = min(f.Size, m.uploads.get(f.Blob))
		}
		all = append(all, sent)
	}
	return all
}

// missing is the name of a file of a row that cannot be uploaded again because it is gone.
func (m *Mesh) missing(tx *store.Tx, row *outRow) string {
	for _, f := range row.Files {
		if !m.env.Files.Has(tx, f.Blob) {
			return f.Name
		}
	}
	return ""
}

// nextUpload is the first row whose files are to be uploaded now, or when the next one becomes due.
func (o *outbox) nextUpload() (item *outItem, later time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for _, it := range o.waiting {
		switch {
		case !it.holds:
		case !it.next.After(now):
			return it, later
		case later.IsZero() || it.next.Before(later):
			later = it.next
		}
	}
	return nil, later
}

// lift lets a row go whose files are at the broker.
func (o *outbox) lift(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.waiting {
		if it.id == id {
			it.holds, it.attempts, it.next, it.refusal = false, 0, time.Time{}, nil
		}
	}
}

// retryUpload is retry for a row whose upload was cut.
func (o *outbox) retryUpload(id string, why *protocol.Error) {
	o.mu.Lock()
	for _, it := range o.waiting {
		if it.id == id {
			it.attempts++
		}
	}
	o.mu.Unlock()
	o.retry(id, why)
}

// hurryUploads makes all uploads due: there is a connection again.
func (o *outbox) hurryUploads() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.waiting {
		if it.holds {
			it.next = time.Time{}
		}
	}
}
