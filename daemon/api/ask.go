package api

import (
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/daemon/asking"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
)

// askAPI serves questions to the mesh, and what this machine answers, to its user.
type askAPI struct {
	d    *roster.Roster
	e    *ask.Engine
	host asking.Host
}

func (a askAPI) table() map[string]route {
	return map[string]route{
		"POST /v1/ask":                     a.ask,
		"GET /v1/asks":                     a.history,
		"GET /v1/asks/{id}":                a.show,
		"POST /v1/asks/rate":               a.rate,
		"GET /v1/knowledge":                a.rules,
		"POST /v1/knowledge/share":         a.share,
		"POST /v1/knowledge/unshare":       a.unshare,
		"GET /v1/knowledge/log":            a.log,
		"GET /v1/knowledge/log/{n}":        a.logEntry,
		"GET /v1/knowledge/requests":       a.requests,
		"POST /v1/knowledge/requests/{id}": a.decide,
	}
}

func (a askAPI) ask(w http.ResponseWriter, r *http.Request) error {
	var req protocol.AskRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	wait := time.Duration(req.WaitMS) * time.Millisecond
	if req.WaitMS < 0 || wait > ask.MaxWait {
		return protocol.Refuse(protocol.CodeInvalid, "wait at most %s", ask.MaxWait)
	}
	view, err := newModelView(a.d, req.Session)
	if err != nil {
		return err
	}
	if req.About != "" {
		got, err := a.e.Follow(r.Context(), req.About, req.Question, wait)
		if errors.Is(err, ask.ErrNotFound) {
			return protocol.Refuse(protocol.CodeNotFound, "no offer %q is known", req.About).WithHint("claudemesh ask log")
		}
		if err != nil {
			return invalid(err)
		}
		return reply(w, view.Asked(a.d.Meshes(), a.told(got, "")))
	}
	m, err := a.d.One(req.Mesh)
	if err != nil {
		return err
	}
	to := "*"
	if req.To != "" {
		t, err := m.Resolve(req.To)
		if err != nil {
			return view.refusal([]*mesh.Mesh{m}, err)
		}
		if to = t.Spec; !t.Many() {
			to = t.Member.String()
		}
	}
	got, err := a.e.Ask(r.Context(), ask.Question{Mesh: string(m.ID()), Text: req.Question, Terms: req.Terms, Context: req.Context, To: to, Session: req.Session, Wait: wait})
	if err != nil {
		return invalid(err)
	}
	return reply(w, view.Asked([]*mesh.Mesh{m}, a.told(got, m.Slug())))
}

// invalid makes an error of the engine the caller's, unless it is a refusal already.
func invalid(err error) error {
	if _, ok := errors.AsType[*protocol.Error](err); ok {
		return err
	}
	return protocol.Refuse(protocol.CodeInvalid, "%v", err)
}

func (a askAPI) told(got ask.Reply, mesh string) protocol.AskReply {
	out := protocol.AskReply{ID: got.ID, Mesh: mesh, People: got.People, Online: got.Online, Own: []protocol.RecallHit{}, Answers: []protocol.AskAnswer{}, Offers: []protocol.AskOffer{}}
	for i := range got.Own {
		out.Own = append(out.Own, recallHit(&got.Own[i], recallExcerpt))
	}
	for _, x := range got.Answers {
		out.Answers = append(out.Answers, protocol.AskAnswer{Offer: x.Offer, From: x.Name, Pubkey: x.Member, Text: x.Text, Project: x.Project, Title: x.Title, Branch: x.Branch,
			At: rfc3339(x.At), Changed: x.Changed, Composed: x.Composed})
	}
	for _, o := range got.Offers {
		out.Offers = append(out.Offers, protocol.AskOffer{ID: o.ID, From: o.Name, Pubkey: o.Member, Coverage: o.Coverage, Project: o.Project, Title: o.Title, At: rfc3339(o.At),
			Level: string(o.Level), Status: o.Status, Rated: o.Rated})
	}
	return out
}

func (a askAPI) asked(x ask.Asked) protocol.AskedInfo {
	return protocol.AskedInfo{
		AskReply: a.told(ask.Reply{ID: x.ID, Answers: x.Answers, Offers: x.Offers, People: x.People, Online: x.Online}, a.d.SlugOf(x.Mesh)),
		Question: x.Question, To: x.To, AskedAt: rfc3339(x.At), OpenTill: rfc3339(x.Until),
	}
}

const askHistory = 200 // most questions or entries in one answer

func limitOf(r *http.Request) (int, error) {
	s := r.FormValue("limit")
	if s == "" {
		return 20, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > askHistory {
		return 0, protocol.Refuse(protocol.CodeInvalid, "limit is a number from 1 to %d", askHistory)
	}
	return n, nil
}

func (a askAPI) history(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	list, err := a.e.History(limit)
	if err != nil {
		return err
	}
	out := []protocol.AskedInfo{}
	for _, x := range list {
		out = append(out, a.asked(x))
	}
	return reply(w, out)
}

func (a askAPI) show(w http.ResponseWriter, r *http.Request) error {
	x, err := a.e.FindAsked(r.PathValue("id"))
	if errors.Is(err, ask.ErrNotFound) {
		return protocol.Refuse(protocol.CodeNotFound, "no question %q was asked from here", r.PathValue("id")).WithHint("claudemesh ask log")
	}
	if err != nil {
		return err
	}
	return reply(w, a.asked(x))
}

func (a askAPI) rate(w http.ResponseWriter, r *http.Request) error {
	var req protocol.AskRateRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	err := a.e.Rate(req.Offer, req.Useful)
	if errors.Is(err, ask.ErrNotFound) {
		return protocol.Refuse(protocol.CodeNotFound, "no offer %q is known", req.Offer).WithHint("claudemesh ask log")
	}
	if err != nil {
		return err
	}
	return reply(w, protocol.OKReply{OK: true})
}

func (a askAPI) rules(w http.ResponseWriter, _ *http.Request) error {
	rules, err := a.e.Rules()
	if err != nil {
		return err
	}
	out := []protocol.KnowledgeRule{}
	for _, r := range rules {
		out = append(out, a.rule(r))
	}
	return reply(w, out)
}

func (a askAPI) rule(r ask.Rule) protocol.KnowledgeRule {
	out := protocol.KnowledgeRule{ID: r.ID, Mesh: a.d.SlugOf(r.Mesh), Dir: r.Dir, Level: string(r.Level), Added: rfc3339(r.Added)}
	for _, w := range r.With {
		if who, ok := a.host.Asker(r.Mesh, w); ok {
			w = who.Name
		}
		out.With = append(out.With, w)
	}
	return out
}

func (a askAPI) share(w http.ResponseWriter, r *http.Request) error {
	var req protocol.KnowledgeShareRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	level := ask.Level(req.Level)
	if !level.Valid() {
		return protocol.Refuse(protocol.CodeInvalid, "level is none, hint, excerpt or answer, not %q", req.Level)
	}
	if req.Dir != "" && !filepath.IsAbs(req.Dir) {
		return protocol.Refuse(protocol.CodeInvalid, "dir is not absolute: %q", req.Dir)
	}
	m, err := a.d.One(req.Mesh)
	if err != nil {
		return err
	}
	rule := ask.Rule{Mesh: string(m.ID()), Level: level}
	if req.Dir != "" {
		rule.Dir = filepath.Clean(req.Dir)
	}
	for _, name := range req.With {
		t, err := m.Resolve(name)
		if err != nil {
			return err
		}
		switch {
		case t.Spec == "*":
			return protocol.Refuse(protocol.CodeInvalid, "everybody is the default: leave out with")
		case t.Many():
			return protocol.Refuse(protocol.CodeInvalid, "knowledge is shared with people; who is in %s is not for you to decide", t.Spec).WithHint("name them: --with bob --with cathy")
		default:
			rule.With = append(rule.With, t.Member.String())
		}
	}
	if rule, err = a.e.Share(rule); err != nil {
		return invalid(err)
	}
	return reply(w, a.rule(rule))
}

func (a askAPI) unshare(w http.ResponseWriter, r *http.Request) error {
	var req protocol.KnowledgeUnshareRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := a.d.One(req.Mesh)
	if err != nil {
		return err
	}
	dir := req.Dir
	if req.All {
		dir = "*"
	}
	n, err := a.e.Unshare(string(m.ID()), dir)
	if err != nil {
		return err
	}
	if n == 0 {
		return protocol.Refuse(protocol.CodeNotFound, "nothing of that is shared with %s", m.Slug()).WithHint("claudemesh knowledge status")
	}
	return reply(w, protocol.KnowledgeGone{Removed: n})
}

func (a askAPI) log(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	entries, err := a.e.Log(limit)
	if err != nil {
		return err
	}
	out := []protocol.KnowledgeEntry{}
	for _, x := range entries {
		out = append(out, a.entry(x, false))
	}
	return reply(w, out)
}

func (a askAPI) entry(x ask.Entry, whole bool) protocol.KnowledgeEntry {
	out := protocol.KnowledgeEntry{N: x.N, At: rfc3339(x.At), Mesh: a.d.SlugOf(x.Mesh), Name: x.Name, Pubkey: x.Member, Question: x.Question, What: x.What, Level: string(x.Level),
		Status: x.Status, Matched: x.Matched, Reason: x.Reason, Bytes: len(x.Sent), Cost: x.Cost}
	if whole {
		out.Sent = string(x.Sent)
	}
	return out
}

func (a askAPI) logEntry(w http.ResponseWriter, r *http.Request) error {
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 64)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "%q is no number of the log", r.PathValue("n")).WithHint("claudemesh knowledge log")
	}
	x, err := a.e.LogEntry(n)
	if errors.Is(err, ask.ErrNotFound) {
		return protocol.Refuse(protocol.CodeNotFound, "the log has no entry %d", n).WithHint("claudemesh knowledge log")
	}
	if err != nil {
		return err
	}
	return reply(w, a.entry(x, true))
}

func (a askAPI) requests(w http.ResponseWriter, _ *http.Request) error {
	open, err := a.e.Requests()
	if err != nil {
		return err
	}
	out := []protocol.KnowledgeAsk{}
	for _, x := range open {
		out = append(out, protocol.KnowledgeAsk{ID: x.ID, At: rfc3339(x.At), Mesh: a.d.SlugOf(x.Mesh), Name: x.Name, Pubkey: x.Member, Question: x.Question, Follow: x.Follow, Would: x.Would})
	}
	return reply(w, out)
}

func (a askAPI) decide(w http.ResponseWriter, r *http.Request) error {
	var req protocol.KnowledgeDecision
	if err := decode(r, &req); err != nil {
		return err
	}
	x, err := a.e.Decide(r.Context(), r.PathValue("id"), req.Approve, req.Always)
	if errors.Is(err, ask.ErrNotFound) {
		return protocol.Refuse(protocol.CodeNotFound, "no request %q waits", r.PathValue("id")).WithHint("claudemesh knowledge requests")
	}
	if err != nil {
		return invalid(err)
	}
	return reply(w, protocol.KnowledgeAsk{ID: x.ID, At: rfc3339(x.At), Mesh: a.d.SlugOf(x.Mesh), Name: x.Name, Pubkey: x.Member, Question: x.Question, Would: x.Would})
}
