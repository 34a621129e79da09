package broker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	listDefault = 50
	listMost    = 200
	listBytes   = 1 << 20 // of frames in one answer, in which the one that exceeds it is the last

	// restRecent is how long after its last request an API key is listed as a peer.
	restRecent = 5 * time.Minute

	// restAlive is how often a silent stream says that it is alive.
	restAlive = 15 * time.Second
)

func (c *restCall) members() (any, error) {
	m := c.m
	answer := protocol.RESTMembers{Members: []protocol.RESTMember{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.view.Members() {
		p := m.members[v.Key]
		if p == nil {
			continue
		}
		item := m.memberItemLocked(p)
		out := protocol.RESTMember{
			MemberID: p.id, Pubkey: item.Pubkey, DisplayName: v.Name, Role: v.Role, IsHuman: true, Online: item.Online,
			Status: "offline", Certs: item.Certs, Sessions: item.Sessions, APIKeys: item.APIKeys,
		}
		for _, st := range p.certs {
			out.JoinedAt = timeText(st.Body.(*protocol.Cert).Issued * 1000)
		}
		for k := range p.conns.all() {
			if pr := m.presences[k]; pr != nil {
				out.Status = pr.shown.status
			}
		}
		answer.Members = append(answer.Members, out)
	}
	slices.SortStableFunc(answer.Members, func(a, b protocol.RESTMember) int { return cmp.Compare(a.DisplayName, b.DisplayName) })
	return answer, nil
}

func (c *restCall) peers() (any, error) {
	m := c.m
	answer := protocol.RESTPeers{Peers: []protocol.RESTPeer{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.srv.now()
	for _, p := range m.presences {
		item := p.item()
		out := protocol.RESTPeer{Pubkey: item.Pubkey, DisplayName: item.DisplayName, Status: item.Status, Groups: item.Groups, Via: "ws",
			MemberPubkey: item.MemberPubkey, SessionID: item.SessionID, Statement: p.session.Text()}
		answer.Peers = append(answer.Peers, out)
	}
	for _, k := range m.keys {
		if k.lastUsed >= now.Add(-restRecent).UnixMilli() && k.goodLocked(now) == nil {
			answer.Peers = append(answer.Peers, protocol.RESTPeer{Pubkey: k.body.Key.String(), DisplayName: m.nameLocked(k.member) + "/" + k.body.Label,
				Status: protocol.StatusIdle, Groups: []string{}, Via: "rest", MemberPubkey: k.body.Member.String(), Statement: k.st.Text()})
		}
	}
	slices.SortFunc(answer.Peers, func(a, b protocol.RESTPeer) int {
		return cmp.Or(cmp.Compare(a.DisplayName, b.DisplayName), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return answer, nil
}

// keyReader reads the two queues of a key, each in three classes, behind six cursors: what is behind a cursor was given out.
type keyReader struct {
	m     *mesh
	k     *apiKey
	to    [2]queue.Recipient // mail, side
	after [2][3]uint64
}

const rowLetters = "ms" // mail, side

func (c *restCall) reader(cursor string) (*keyReader, error) {
	r := &keyReader{m: c.m, k: c.k}
	c.m.mu.Lock()
	a := c.m.addresses[c.k.body.Key]
	c.m.mu.Unlock()
	if a == nil {
		return nil, protocol.Refuse(protocol.CodeRevoked, "the key was forgotten")
	}
	r.to = [2]queue.Recipient{a.mail, a.side}
	if cursor == "" {
		return r, nil
	}
	parts := strings.Split(cursor, "-")
	for i := range len(parts) {
		n, err := strconv.ParseUint(parts[i], 10, 63)
		if err != nil || len(parts) != 6 {
			return nil, protocol.Refuse(protocol.CodeInvalid, "the cursor is not from this broker")
		}
		r.after[i/3][i%3] = n
	}
	return r, nil
}

func (r *keyReader) cursor() string {
	var b strings.Builder
	for q := range r.after {
		for class := range r.after[q] {
			if b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteString(strconv.FormatUint(r.after[q][class], 10))
		}
	}
	return b.String()
}

// next gives up to n rows behind the cursors, now before next before low, and no more behind listBytes.
func (r *keyReader) next(n int, each func(protocol.RESTRow) error) (count int, err error) {
	bytes := 0
	for class := queue.Now; class <= queue.Low; class++ {
		for q, to := range r.to {
			for {
				rows, err := r.m.srv.queue.Pull(to, class, r.after[q][class], n-count, listBytes-bytes)
				if err != nil {
					return count, r.m.srv.storeError("read the queue", fmt.Errorf("%w: %w", errQueueRead, err))
				}
				for _, row := range rows {
					r.after[q][class] = row.LSN
					frame, ok := r.frame(&row)
					if !ok {
						continue
					}
					count++
					bytes += len(frame)
					if err := each(protocol.RESTRow{Row: rowName(q, row), Frame: frame}); err != nil {
						return count, err
					}
				}
				if count >= n || bytes >= listBytes {
					return count, nil
				}
				if len(rows) == 0 {
					break
				}
			}
		}
	}
	return count, nil
}

// frame is a row as it is told; false for one that has expired or cannot be read.
func (r *keyReader) frame(row *queue.Row) (json.RawMessage, bool) {
	if row.Expires != 0 && row.Expires <= r.m.srv.now().UnixMilli() {
		return nil, false
	}
	_, frame, err := r.m.frameOf(nil, row)
	if err != nil {
		r.m.srv.log.Error("queued row cannot be read", "lsn", row.LSN, "err", err)
		return nil, false
	}
	return frame, true
}

func rowName(q int, row queue.Row) string {
	return string(rowLetters[q]) + strconv.Itoa(int(row.Class)) + "-" + strconv.FormatUint(row.LSN, 10)
}

// row finds the row of that name.
func (r *keyReader) row(name string) (q int, row queue.Row, ok bool, err error) {
	head, tail, _ := strings.Cut(name, "-")
	lsn, numErr := strconv.ParseUint(tail, 10, 63)
	if len(head) != 2 || head[1] < '0' || head[1] > '2' || numErr != nil || lsn == 0 {
		return 0, row, false, nil
	}
	if q = strings.IndexByte(rowLetters, head[0]); q < 0 {
		return 0, row, false, nil
	}
	rows, err := r.m.srv.queue.Pull(r.to[q], queue.Class(head[1]-'0'), lsn-1, 1, 0)
	if err != nil {
		return 0, row, false, r.m.srv.storeError("read the queue", err)
	}
	if len(rows) == 0 || rows[0].LSN != lsn {
		return 0, row, false, nil
	}
	return q, rows[0], true, nil
}

func (c *restCall) list() (any, error) {
	limit, err := numberOf(c.r, "limit")
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = listDefault
	}
	r, err := c.reader(c.r.FormValue("after"))
	if err != nil {
		return nil, err
	}
	answer := protocol.RESTMessages{Messages: []protocol.RESTRow{}}
	_, err = r.next(int(min(limit, listMost)), func(row protocol.RESTRow) error {
		answer.Messages = append(answer.Messages, row)
		return nil
	})
	answer.Cursor = r.cursor()
	return answer, err
}

func (c *restCall) one() (any, error) {
	r, err := c.reader("")
	if err != nil {
		return nil, err
	}
	name := c.r.PathValue("id")
	q, row, ok, err := r.row(name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, protocol.Refuse(protocol.CodeNotFound, "no row %s waits for this key", name)
	}
	_, frame, err := c.m.frameOf(nil, &row)
	if err != nil {
		return nil, err
	}
	return protocol.RESTRow{Row: rowName(q, row), Frame: frame}, nil
}

// ack forgets a row that the key's program has, and tells its sender.
func (c *restCall) ack() (any, error) {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodePayloadTooLarge, "the body is longer than %d bytes", protocol.MaxFrame)
	}
	v, err := protocol.SplitClientAck(body)
	if err != nil {
		return nil, err
	}
	if len(v.Proof.Ciphertext) > maxProof {
		return nil, protocol.Refuse(protocol.CodePayloadTooLarge, "a proof is at most %d bytes", maxProof)
	}
	r, err := c.reader("")
	if err != nil {
		return nil, err
	}
	q, row, ok, err := r.row(string(v.BrokerMessageID))
	if err != nil || !ok {
		return protocol.RESTAck{OK: true}, err
	}
	state := protocol.StateDelivered
	if string(v.State) == string(protocol.StateRefused) {
		state = protocol.StateRefused
	}
	c.m.mu.Lock()
	a := c.m.addresses[c.k.body.Key]
	c.m.mu.Unlock()
	if a == nil {
		return protocol.RESTAck{OK: true}, nil // the mesh was deleted meanwhile
	}
	if err := c.m.settle(row.Header, a, state, &v); err != nil { // first, as on a connection
		return nil, err
	}
	acked, err := c.m.srv.queue.Ack(r.to[q], row.Class, row.LSN)
	if err != nil {
		return nil, c.m.srv.storeError("acknowledge", err)
	}
	if acked {
		c.m.release(a, sharerOf(row.Header), r.to[q] == a.side, int64(row.Size))
	}
	return protocol.RESTAck{OK: true, Acked: acked}, nil
}

// events streams what waits and what comes, each row once. A stream that begins with Last-Event-ID goes on behind it.
func (c *restCall) events() (any, error) {
	r, err := c.reader(c.r.Header.Get("Last-Event-ID"))
	if err != nil {
		return nil, err
	}
	leave, err := c.m.srv.streams.enter(c.k, &c.m.srv.limits)
	if err != nil {
		return nil, err
	}
	defer leave()
	wake := make(chan struct{}, 1)
	for _, to := range r.to {
		defer c.m.srv.queue.Subscribe(to, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})()
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.w.Header().Set("Cache-Control", "no-store")
	s := &restStream{w: c.w, control: http.NewResponseController(c.w), timeout: c.m.srv.limits.WriteTimeout}
	s.write("event: ready\nid: %s\ndata: {\"id\":%q,\"connectedAt\":%q}\n\n", r.cursor(), c.k.body.Key.String(), timeText(c.m.srv.now().UnixMilli()))
	beat := time.NewTicker(restAlive)
	defer beat.Stop()
	for s.err == nil && c.stillGood() {
		n, err := r.next(listDefault, func(row protocol.RESTRow) error {
			s.write("event: message\nid: %s\ndata: {\"row\":%q,\"frame\":%s}\n\n", r.cursor(), row.Row, row.Frame)
			return s.err
		})
		if err != nil || n > 0 {
			if err != nil {
				break
			}
			continue
		}
		s.flush()
		select {
		case <-c.r.Context().Done():
			return nil, nil
		case <-c.m.srv.stopping:
			return nil, nil
		case <-wake:
		case <-beat.C:
			s.write(": alive\n\n")
		}
	}
	return nil, nil
}

// stillGood is asked before each round of a stream.
func (c *restCall) stillGood() bool {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	return !c.m.gone.Load() && c.k.goodLocked(c.m.srv.now()) == nil
}

// restStream writes server-sent events (WHATWG HTML, 9.2). The first error ends it: the reader is gone.
type restStream struct {
	w       io.Writer
	control *http.ResponseController
	timeout time.Duration
	err     error
}

func (s *restStream) write(format string, args ...any) {
	if s.err == nil {
		s.err = s.control.SetWriteDeadline(time.Now().Add(s.timeout))
	}
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

func (s *restStream) flush() {
	if s.err == nil {
		s.err = s.control.Flush()
	}
}
