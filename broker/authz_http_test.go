package broker

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// signers are who signs what is brought to a route that asks for no key, from the weakest to the strongest.
func (c *cast) signers() (names []string, keys []*crypto.PrivateKey) {
	for _, s := range []struct {
		name string
		key  *crypto.PrivateKey
	}{
		{"stranger", crypto.GenerateKey()}, {"foreign", c.dave.key}, {"banned", c.mal.key}, {"invited", c.zoe.key}, {"API key", c.ci.secret.Key},
		{"member", c.bob.key}, {"exadmin", c.eve.key}, {"admin", c.alice.key}, {"owner", c.owner},
	} {
		names, keys = append(names, s.name), append(keys, s.key)
	}
	return names, keys
}

// openScenes are the rows for routes without an API key: what is brought, and the HTTP status that each signer gets. What each
// brings is authority enough or not, whoever carries it.
var openScenes = []struct {
	route, what string
	ask         func(c *cast, by *crypto.PrivateKey) int
	want        []int // one a signer
}{
	//                                                                                  stranger foreign banned invited key member exadmin admin owner
	{"POST /api/v1/statements", "a member's cert", offersCert(protocol.RoleMember), []int{403, 403, 403, 403, 403, 403, 403, 200, 200}},
	{"POST /api/v1/statements", "an admin's cert", offersCert(protocol.RoleAdmin), []int{403, 403, 403, 403, 403, 403, 403, 403, 200}},
	{"POST /join", "a link for members", joinsBy(protocol.RoleMember), []int{403, 403, 403, 403, 403, 403, 403, 200, 200}},
	{"POST /join", "a link for admins", joinsBy(protocol.RoleAdmin), []int{403, 403, 403, 403, 403, 403, 403, 403, 200}},
	{"POST /api/v1/meshes", "a mesh, no token", (*cast).createsMesh, []int{401, 401, 401, 401, 401, 401, 401, 401, 401}},
}

// plainRoutes are those where nothing that is brought counts: what anybody gets from elsewhere, and from this machine.
var plainRoutes = map[string][2]int{
	"GET /ws":           {426, 426}, // no WebSocket: hello decides there
	"GET /health":       {200, 200},
	"GET /health/ready": {200, 200},
}

func offersCert(role string) func(*cast, *crypto.PrivateKey) int {
	return func(c *cast, by *crypto.PrivateKey) int {
		st := c.sign(&protocol.Cert{Mesh: c.world.mesh, Issuer: by.Public(), Member: crypto.GenerateKey().Public(), Name: "x", Role: role, Issued: time.Now().Unix()}, by)
		status, _ := c.post("/api/v1/statements", "", protocol.OfferRequest{Mesh: c.world.mesh, Statements: []string{st.Text()}})
		return status
	}
}

func joinsBy(role string) func(*cast, *crypto.PrivateKey) int {
	return func(c *cast, by *crypto.PrivateKey) int {
		link, p := crypto.GenerateKey(), c.stranger("frank")
		invite := c.sign(&protocol.Invite{Mesh: c.world.mesh, Issuer: by.Public(), Link: link.Public(), Role: role, Uses: 1,
			Expires: time.Now().Add(time.Hour).Unix(), URL: "wss://" + testHost + "/ws", Owner: c.owner.Public()}, by)
		status, _ := c.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: c.enrol(p, link).Text()})
		return status
	}
}

func (c *cast) createsMesh(by *crypto.PrivateKey) int {
	charter := c.sign(&protocol.Charter{Owner: by.Public(), Created: time.Now().Unix(), Slug: "mine"}, by)
	status, _ := c.post("/api/v1/meshes", c.ci.secret.Bearer.Text(), protocol.CreateRequest{Statements: []string{charter.Text()}})
	return status
}

func TestAuthorityOfOpenRoutes(t *testing.T) {
	covered := make(map[string]bool)
	story(t, Limits{HTTPPerAddress: 1000}, func(w *world) {
		c := stage(w)
		names, keys := c.signers()
		for _, scene := range openScenes {
			covered[scene.route] = true
			for i, by := range keys {
				if got := scene.ask(c, by); got != scene.want[i] {
					t.Errorf("%s with %s by %s: %d, want %d", scene.route, scene.what, names[i], got, scene.want[i])
				}
			}
		}
		for route, want := range plainRoutes {
			covered[route] = true
			method, path, _ := strings.Cut(route, " ")
			for i, from := range []string{"203.0.113.9:1", "127.0.0.1:1"} {
				r := httptest.NewRequest(method, path, strings.NewReader(`{"cwd":"/x","status":"idle"}`))
				r.RemoteAddr = from
				rec := httptest.NewRecorder()
				w.srv.Handler().ServeHTTP(rec, r)
				if rec.Code != want[i] {
					t.Errorf("%s from %s: %d %s, want %d", route, from, rec.Code, rec.Body, want[i])
				}
			}
		}
		for _, route := range slices.Sorted(maps.Keys(w.srv.openRoutes())) {
			if !covered[route] {
				t.Errorf("%s is not in the matrix", route)
			}
		}
		for _, token := range []string{"", "wrong", w.srv.AdminToken() + "x", w.srv.AdminToken()[1:]} {
			if status, body := w.post("/api/v1/meshes", token, protocol.CreateRequest{}); status != http.StatusUnauthorized {
				t.Errorf("a mesh with the token %q: %d %s", token, status, body)
			}
		}
	})
}

// Who was removed does not come back by a link, and whose key is in another use is not enrolled under it.
func TestAuthorityOfALinkOverAKey(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		c := stage(w)
		invite, enrol := w.invite(c.mal, time.Hour)
		if status, body := w.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: enrol.Text()}); status != http.StatusForbidden {
			t.Errorf("the banned joins: %d %s", status, body)
		}
		session := *c.bob
		session.key = c.bob.sessionKey("web")
		c.bob.session("web")
		invite, enrol = w.invite(&session, time.Hour)
		if status, body := w.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: enrol.Text()}); status != http.StatusBadRequest {
			t.Errorf("a session's key joins: %d %s", status, body)
		}
	})
}

// notAsked are the frames that a broker says, and no client.
var notAsked = []string{
	protocol.TypeChallenge, protocol.TypeHelloAck, protocol.TypePublished, protocol.TypeMembersList, protocol.TypeMembership, protocol.TypePeersList,
	protocol.TypePresence, protocol.TypeAck, protocol.TypePush, protocol.TypeMessageState, protocol.TypeOK, protocol.TypeError,
	protocol.TypeAPIKeyCreated, protocol.TypeAPIKeys, protocol.TypeAPIKeyRevoked,
}

// A frame or an op that is new fails here until the matrix says who may.
func TestMatrixIsWhole(t *testing.T) {
	inScenes := make(map[string]bool)
	for _, scene := range scenes {
		words := strings.Fields(scene.verb)
		inScenes[words[0]] = true
		inScenes[words[0]+" "+words[min(1, len(words)-1)]] = true
	}
	asked := append(slices.Collect(maps.Keys(requests)), protocol.TypeSend, protocol.TypeClientAck)
	for _, typ := range asked {
		if !inScenes[typ] {
			t.Errorf("%s is not in the matrix", typ)
		}
	}
	for verb := range opVerbs {
		if !inScenes[protocol.TypeOp+" "+verb] {
			t.Errorf("op %s is not in the matrix", verb)
		}
	}
	types := constants(t, "../protocol/frames.go", `(Type\w+) += "(\w+)"`)
	maps.Copy(types, constants(t, "../protocol/apikey.go", `(Type\w+) += "(\w+)"`))
	if len(types) < len(asked) {
		t.Fatalf("found %d types of frames: the test does not read its files any more", len(types))
	}
	for name, typ := range types {
		if !slices.Contains(asked, typ) && !slices.Contains(notAsked, typ) {
			t.Errorf("%s is neither asked nor said", name)
		}
	}
}
