package api

import (
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	restEvents = "GET /api/v1/events"
)

// RESTTable lists the routes of the REST interface, which are on the socket too.
func (d *API) RESTTable() map[string]route {
	return map[string]route{
		"GET /api/v1/peers":                d.restPeers,
		"GET /api/v1/members":              d.restMembers,
		"POST /api/v1/messages":            d.handleSend,
		"GET /api/v1/messages":             d.restMessages,
		"GET /api/v1/messages/{id}":        d.restMessage,
		"GET /api/v1/messages/{id}/status": d.handleMessage,
		"POST /api/v1/messages/read":       d.handleRead,
		"POST /api/v1/files":               d.handleStage,

		"GET /api/v1/messages/{id}/files/{n}": d.handleFile,
		restEvents:                            d.handleEvents,
	}
}

// handlePortEvents is handleEvents for the port: there are fewer places.
func (d *API) handlePortEvents(w http.ResponseWriter, r *http.Request) error {
	leave, err := d.onPort.enter()
	if err != nil {
		return err
	}
	defer leave()
	return d.handleEvents(w, r)
}

func (d *API) restPeers(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	out := protocol.PlainPeers{Peers: []protocol.PlainPeer{}}
	for _, m := range meshes {
		for _, p := range m.Peers() {
			out.Peers = append(out.Peers, protocol.PlainPeer{PeerInfo: p, DisplayName: p.Name, Via: "ws"})
		}
	}
	return reply(w, out)
}

func (d *API) restMembers(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	out := protocol.PlainMembers{Members: []protocol.PlainMember{}}
	for _, m := range meshes {
		for _, p := range m.Members() {
			out.Members = append(out.Members, protocol.PlainMember{MemberInfo: p, DisplayName: p.Name, IsHuman: true})
		}
	}
	return reply(w, out)
}

func (d *API) restMessages(w http.ResponseWriter, r *http.Request) error {
	page, err := d.listInbox(r)
	if err != nil {
		return err
	}
	return reply(w, page)
}

func (d *API) restMessage(w http.ResponseWriter, r *http.Request) error {
	msg, err := d.Mail.Find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, msg)
}

// RESTRoutes guards the routes on a port, where every program of every user, and every page in a browser, can knock.
func (d *API) RESTRoutes(addr, token string) http.Handler {
	mux := http.NewServeMux()
	handler := func(handle route) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := handle(w, r); err != nil {
				d.refuse(w, r, err)
			}
		})
	}
	table := d.RESTTable()
	table[restEvents] = d.handlePortEvents
	for pattern, handle := range table {
		mux.Handle(pattern, handler(handle))
	}
	mux.Handle("/", handler(func(_ http.ResponseWriter, r *http.Request) error {
		return protocol.Refuse(protocol.CodeNotFound, "no route %s %s", r.Method, r.URL.Path)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		boundBody(r)
		err := checkPage(r, addr)
		if err == nil {
			err = checkToken(r, token)
		}
		if err != nil {
			d.refuse(w, r, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// checkPage refuses what a page in a browser sends: it names its origin, or, where a name was bent to this machine, that name.
func checkPage(r *http.Request, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil && r.Header.Get("Origin") == "" && (r.Host == addr || r.Host == net.JoinHostPort("localhost", port)) {
		return nil
	}
	return protocol.Refuse(protocol.CodeForbidden, "this port does not serve web pages")
}

// checkToken compares in constant time, also of the lengths.
func checkToken(r *http.Request, token string) error {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got, want := crypto.Hash([]byte(bearer)), crypto.Hash([]byte(token))
	if ok && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
		return nil
	}
	return protocol.Refuse(protocol.CodeUnauthorized, "no or a wrong token: Authorization: Bearer …").WithHint("claudemesh daemon rest token")
}
