package api

import (
	"context"
	"encoding/hex"
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/daemon/memory"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/recall/redact"
	"github.com/claudemesh/claudemesh/recall/source"
)

// Limits of what one request asks of the memory.
const (
	recallLimit      = 5
	recallMostHits   = 50
	recallExcerpt    = 800  // bytes
	recallMaxExcerpt = 8192 // bytes
	recallPrompt     = 300  // bytes of the prompt in a list
	recallMaxForget  = 1000
)

// recallAPI serves this machine's memory to its user.
type recallAPI struct {
	keep    *memory.Keeper
	sources []string
}

func newRecallAPI(keep *memory.Keeper, sources []source.Source) recallAPI {
	a := recallAPI{sources: []string{}, keep: keep}
	for _, s := range sources {
		a.sources = append(a.sources, s.Root())
	}
	return a
}

func (a recallAPI) table() map[string]route {
	return map[string]route{
		"POST /v1/recall":         a.search,
		"GET /v1/recall/status":   a.status,
		"GET /v1/recall/{id}":     a.show,
		"POST /v1/recall/exclude": a.exclude,
		"POST /v1/recall/forget":  a.forget,
		"POST /v1/recall/release": a.release,
		"POST /v1/recall/notes":   a.remember,
	}
}

func (a recallAPI) search(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RecallRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	q, err := recallQuery(&req)
	if err != nil {
		return err
	}
	m, err := a.keep.Memory()
	if err != nil {
		return err
	}
	hits, err := m.Search(r.Context(), q)
	if err != nil {
		return err
	}
	n, err := m.Episodes(r.Context())
	if err != nil {
		return err
	}
	if n == 0 {
		a.keep.SweepSoon() // the daemon has just been started
	}
	out := protocol.RecallReply{Hits: []protocol.RecallHit{}, Episodes: n, Indexing: a.keep.Indexing()}
	for i := range hits {
		out.Hits = append(out.Hits, recallHit(&hits[i], req.Excerpt))
	}
	return reply(w, out)
}

func recallQuery(req *protocol.RecallRequest) (recall.Query, error) {
	q := recall.Query{Text: req.Query, Terms: req.Terms, Context: req.Context, Limit: req.Limit, Dir: req.Dir}
	if q.Text == "" && len(q.Terms) == 0 {
		return q, protocol.Refuse(protocol.CodeInvalid, "nothing to look for")
	}
	if q.Limit == 0 {
		q.Limit = recallLimit
	}
	if req.Excerpt == 0 {
		req.Excerpt = recallExcerpt
	}
	if q.Limit < 0 || q.Limit > recallMostHits || req.Excerpt < 0 || req.Excerpt > recallMaxExcerpt {
		return q, protocol.Refuse(protocol.CodeInvalid, "at most %d hits of at most %d bytes", recallMostHits, recallMaxExcerpt)
	}
	if q.Dir != "" && !filepath.IsAbs(q.Dir) {
		return q, protocol.Refuse(protocol.CodeInvalid, "dir is not absolute: %s", q.Dir)
	}
	for _, bound := range []struct {
		text string
		to   *time.Time
	}{{req.Since, &q.Since}, {req.Until, &q.Until}} {
		if bound.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, bound.text)
		if err != nil {
			return q, protocol.Refuse(protocol.CodeInvalid, "%q is no time as in RFC 3339", bound.text)
		}
		*bound.to = t
	}
	return q, nil
}

func recallHit(h *recall.Hit, excerpt int) protocol.RecallHit {
	return protocol.RecallHit{
		ID: h.ID, Score: math.Round(h.Score*1000) / 1000, Coverage: math.Round(h.Coverage*1000) / 1000, Title: h.Title, Agent: h.Agent, Kind: string(h.Kind),
		Session: h.Session, Dir: h.Dir, Branch: h.Branch, Secondhand: h.Secondhand, At: rfc3339(h.End), Prompt: recall.Clip(h.Prompt, recallPrompt),
		Excerpt: h.Excerpt(excerpt), Files: h.Files, Changed: h.Changed(),
	}
}

// rfc3339 writes a time; the zero time is empty.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (a recallAPI) show(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "%q is no id of an episode", r.PathValue("id")).WithHint("claudemesh recall --help")
	}
	m, err := a.keep.Memory()
	if err != nil {
		return err
	}
	h, ok, err := m.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if !ok {
		return protocol.Refuse(protocol.CodeNotFound, "the memory holds no episode %d", id)
	}
	out := protocol.Episode{RecallHit: recallHit(&h, recallMaxExcerpt), Begun: rfc3339(h.Start), Asked: h.Prompt, Text: h.Text, Code: h.Code, Output: h.Output}
	return reply(w, out)
}

func (a recallAPI) status(w http.ResponseWriter, r *http.Request) error {
	m, err := a.keep.Memory()
	if err != nil {
		return err
	}
	s, err := m.Stats(r.Context())
	if err != nil {
		return err
	}
	out := protocol.RecallStatus{
		Episodes: s.Episodes, Notes: s.Notes, Sessions: s.Sessions, Files: s.Files, Read: s.Read, Bytes: s.Bytes, Secrets: s.Secrets,
		Oldest: rfc3339(s.Oldest), Newest: rfc3339(s.Newest), Indexing: a.keep.Indexing(), Path: a.keep.Path(), Sources: a.sources,
		Problems: []protocol.RecallProblem{}, Excluded: []string{},
	}
	for _, p := range s.Problems {
		out.Problems = append(out.Problems, protocol.RecallProblem{Path: p.Path, Reason: p.Reason})
	}
	dirs, err := m.Exclusions(r.Context())
	if err != nil {
		return err
	}
	out.Excluded = append(out.Excluded, dirs...)
	return reply(w, out)
}

func (a recallAPI) exclude(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RecallExcludeRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if !filepath.IsAbs(req.Dir) {
		return protocol.Refuse(protocol.CodeInvalid, "dir is not absolute: %q", req.Dir)
	}
	m, err := a.keep.Memory()
	if err != nil {
		return err
	}
	var out protocol.RecallGone
	if !req.Undo {
		out.Removed, err = m.Exclude(r.Context(), req.Dir)
	} else {
		var was bool
		if was, err = m.Include(r.Context(), req.Dir); err == nil && !was {
			return protocol.Refuse(protocol.CodeNotFound, "%s is not excluded", req.Dir).WithHint("claudemesh recall status")
		}
		a.keep.SweepSoon()
	}
	if err != nil {
		return err
	}
	a.keep.CompactSoon()
	return reply(w, out)
}

func (a recallAPI) forget(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RecallForgetRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := a.keep.Memory()
	if err != nil {
		return err
	}
	n, err := forget(r.Context(), m, &req)
	if err != nil {
		return err
	}
	a.keep.CompactSoon()
	return reply(w, protocol.RecallGone{Removed: n})
}

func forget(ctx context.Context, m *recall.Memory, req *protocol.RecallForgetRequest) (int, error) {
	named := 0
	for _, set := range []bool{len(req.IDs) > 0, req.Session != "", req.Dir != ""} {
		if set {
			named++
		}
	}
	switch {
	case named != 1 || len(req.IDs) > recallMaxForget || req.Private && req.Session == "":
		return 0, protocol.Refuse(protocol.CodeInvalid, "name at most %d ids, or a session, or a directory", recallMaxForget)
	case req.Private:
		return m.Private(ctx, req.Session)
	case len(req.IDs) > 0:
		return m.Forget(ctx, req.IDs)
	}
	ids, err := m.Matching(ctx, req.Session, req.Dir)
	if err != nil {
		return 0, err
	}
	return m.Forget(ctx, ids)
}

func (a recallAPI) release(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RecallReleaseRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if (req.ID == 0) == (req.Session == "") {
		return protocol.Refuse(protocol.CodeInvalid, "name an episode or a session")
	}
	m, err := a.keep.Memory()
	if err != nil {
		return err
	}
	if req.ID != 0 {
		h, ok, err := m.Get(r.Context(), req.ID)
		if err != nil {
			return err
		}
		if !ok || h.Session == "" {
			return protocol.Refuse(protocol.CodeNotFound, "the memory holds no episode %d of a session", req.ID)
		}
		req.Session = h.Session
	}
	n, err := m.Release(r.Context(), req.Session)
	if err != nil {
		return err
	}
	return reply(w, protocol.RecallReleased{Session: req.Session, Released: n})
}

func (a recallAPI) remember(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RememberRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	switch {
	case req.By != recall.ByPerson && req.By != recall.ByModel:
		return protocol.Refuse(protocol.CodeInvalid, "by is person or model, not %q", req.By)
	case len(req.Text) > recall.MaxNote:
		return protocol.Refuse(protocol.CodePayloadTooLarge, "the note has %d bytes; at most %d are kept", len(req.Text), recall.MaxNote)
	}
	m, err := a.keep.Memory()
	if err != nil {
		return err
	}
	id, removed, err := m.Remember(r.Context(), recall.NewNote{Text: req.Text, By: req.By, Session: req.Session, Dir: req.Dir})
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "%v", err)
	}
	return reply(w, protocol.RememberReply{ID: id, Removed: removed})
}

// heard takes what a hook says about a session's recording.
func (a recallAPI) heard(ctx context.Context, req *protocol.HookRequest) error {
	if req.Private || len(req.Secrets) > 0 {
		m, err := a.keep.Memory()
		if err != nil {
			return err
		}
		if err := m.AddSecrets(ctx, fingerprints(req.Secrets)...); err != nil {
			return err
		}
		if req.Private {
			if _, err := m.Private(ctx, req.Session.ID); err != nil {
				return err
			}
			a.keep.CompactSoon()
		}
	}
	switch req.Event {
	case protocol.HookStop, protocol.HookSessionEnd, protocol.HookPreCompact:
		if req.Transcript != "" {
			a.keep.Changed(req.Transcript)
		}
	}
	return nil
}

// maxFingerprints is how many values one hook may name: an environment has fewer secrets.
const maxFingerprints = 256

func fingerprints(list []protocol.SecretFingerprint) []redact.Fingerprint {
	var out []redact.Fingerprint
	for _, f := range list[:min(len(list), maxFingerprints)] {
		mac, err := hex.DecodeString(f.MAC)
		if err == nil && len(mac) == len(redact.Fingerprint{}.MAC) && f.Length > 0 {
			out = append(out, redact.Fingerprint{MAC: [16]byte(mac), Length: f.Length})
		}
	}
	return out
}
