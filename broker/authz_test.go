package broker

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// actor is somebody who asks. What he signs, he signs with his own key, whoever's connection it is.
type actor struct {
	*client                    // nil: no connection at all
	signer  *crypto.PrivateKey // of ops, publications and API keys
	member  crypto.PublicKey   // whom the connection stands for
}

// cast is who takes part in a scene of the matrix.
type cast struct {
	*world
	rest  *world // another mesh on the same broker
	dave  *person
	eve   *person // was an admin
	zoe   *person // came with a link, and is not admitted
	mal   *person // was banned
	gina  *person // a member who is away
	ci    *script // bob's key, for reading and sending
	spent protocol.OpFrame
	link  *crypto.PrivateKey
}

// stage makes the mesh, its people and their keys. Cathy's session is the one that is kicked.
func stage(w *world) *cast {
	c := &cast{world: w, link: crypto.GenerateKey()}
	alice := w.alice.connect()
	c.eve, c.zoe, c.mal, c.gina = w.stranger("eve"), w.stranger("zoe"), w.stranger("mal"), w.stranger("gina")
	alice.wantPublished(w.certify(c.eve, protocol.RoleAdmin), w.certify(c.mal, protocol.RoleMember), w.certify(c.gina, protocol.RoleMember))
	alice.wantPublished(w.sign(&protocol.Revoke{Mesh: w.mesh, Issuer: w.owner.Public(), Kind: protocol.RevokeAdmin, Target: c.eve.key.Public(),
		At: time.Now().Unix()}, w.owner))
	alice.wantPublished(w.sign(&protocol.Cert{Mesh: w.mesh, Issuer: w.owner.Public(), Member: c.eve.key.Public(), Name: "eve", Role: protocol.RoleMember,
		Issued: time.Now().Unix() + 1}, w.owner), w.revoke(c.mal.key.Public()))
	invite, enrol := w.invite(c.zoe, time.Hour)
	if code, body := w.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: enrol.Text()}); code != http.StatusOK {
		w.Fatalf("join: %s", body)
	}
	bob := w.bob.connect()
	c.ci = bob.register(w.bob.apiKey("ci", 0, "read", "send"))
	bob.leave()
	spent := c.op(alice, w.alice.key, alice.challenge(), protocol.OpAudit, "{}")
	var ok protocol.OK
	alice.request(spent, protocol.TypeOK, &ok)
	c.spent = spent
	alice.leave()

	other := *w
	other.owner, other.people = crypto.GenerateKey(), make(map[string]*person)
	other.charter = other.sign(&protocol.Charter{Owner: other.owner.Public(), Created: time.Now().Unix(), Slug: "other"}, other.owner)
	other.mesh = other.charter.Mesh()
	c.dave = other.stranger("dave")
	req := protocol.CreateRequest{Statements: []string{other.charter.Text(), other.certify(c.dave, protocol.RoleAdmin).Text()}}
	if code, body := w.post("/api/v1/meshes", w.srv.AdminToken(), req); code != http.StatusCreated {
		w.Fatalf("create: %s", body)
	}
	c.rest = &other
	return c
}

func (c *cast) op(conn *client, by *crypto.PrivateKey, nonce [32]byte, verb, args string) protocol.OpFrame {
	return protocol.OpFrame{Tag: protocol.Tag{Type: protocol.TypeOp}, Statement: c.sign(&protocol.Op{
		Mesh: conn.w.mesh, By: by.Public(), Nonce: nonce, Verb: verb, JSON: []byte(args),
	}, by).Text()}
}

// actors are the columns of the matrix, from the weakest to the strongest.
var actors = []struct {
	name  string
	enter func(c *cast) actor
}{
	{"anonymous", func(c *cast) actor { return actor{c.bob.dial(), crypto.GenerateKey(), crypto.PublicKey{}} }},
	{"hijacked", func(c *cast) actor { return actor{c.bob.connect(), crypto.GenerateKey(), c.bob.key.Public()} }},        // bob's connection, not his key
	{"session", func(c *cast) actor { return actor{c.bob.session("web"), c.bob.sessionKey("web"), c.bob.key.Public()} }}, // one of bob's, with its own key
	{"foreign", func(c *cast) actor { return actor{c.dave.connect(), c.dave.key, c.dave.key.Public()} }},
	{"banned", func(c *cast) actor { return actor{nil, c.mal.key, c.mal.key.Public()} }},
	{"invited", func(c *cast) actor { return actor{c.zoe.connect(), c.zoe.key, c.zoe.key.Public()} }},
	{"member", func(c *cast) actor { return actor{c.bob.connect(), c.bob.key, c.bob.key.Public()} }},
	{"exadmin", func(c *cast) actor { return actor{c.eve.connect(), c.eve.key, c.eve.key.Public()} }},
	{"admin", func(c *cast) actor { return actor{c.alice.connect(), c.alice.key, c.alice.key.Public()} }},
	{"owner", func(c *cast) actor { return actor{c.alice.connect(), c.owner, c.alice.key.Public()} }}, // the owner key says no hello
}

// ask sends a frame and returns the code of its refusal, or what became of it: ok, or the status of an apikey_revoke.
func (a actor) ask(frame any) string {
	a.w.Helper()
	b, err := json.Marshal(frame)
	if err != nil {
		a.w.Fatal(err)
	}
	var fields map[string]any
	json.Unmarshal(b, &fields)
	fields["_reqId"] = "m"
	a.write(fields)
	answer := func() []byte {
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		for i, f := range a.frames {
			var tag protocol.Tag
			if json.Unmarshal(f.raw, &tag); tag.ReqID == "m" {
				a.frames = slices.Delete(a.frames, i, i+1)
				return f.raw
			}
		}
		return nil
	}()
	if answer == nil {
		return "silence"
	}
	var said struct {
		Type, Code, Status string
		Refused            []protocol.RefusedStatement
	}
	json.Unmarshal(answer, &said)
	switch {
	case said.Code != "":
		return said.Code
	case len(said.Refused) > 0:
		return string(said.Refused[0].Code)
	case said.Type == protocol.TypeAPIKeyRevoked:
		return said.Status
	}
	return "ok"
}

func (a actor) publishes(st *protocol.Statement) string {
	return a.ask(protocol.Publish{Tag: protocol.Tag{Type: protocol.TypePublish}, Statements: []string{st.Text()}})
}

func (a actor) ops(c *cast, verb, args string) string {
	var nonce [32]byte
	if a.mesh() {
		nonce = a.challenge()
	}
	return a.ask(c.op(a.client, a.signer, nonce, verb, args))
}

// mesh reports whether the connection said hello: before, a challenge is for hello.
func (a actor) mesh() bool { return !a.member.IsZero() }

// scenes are the rows: what is asked, and what each actor hears. The banned have no connection on which to ask.
var scenes = []struct {
	verb string
	ask  func(c *cast, a actor) string
	want string // one word an actor, in their order
}{
	//                                                       anonymous  hijacked     session      foreign           banned invited      member       exadmin      admin         owner
	{"send to a member", (*cast).sends, "                    no_hello   ok           ok           unknown_recipient -      ok           ok           ok           ok            ok"},
	{"send to a group", (*cast).sendsGroup, "                no_hello   ok           ok           unknown_recipient -      forbidden    ok           ok           ok            ok"},
	{"send as another member", (*cast).sendsAs, "            no_hello   forbidden    forbidden    forbidden         -      forbidden    forbidden    forbidden    forbidden     forbidden"},
	{"receipt for another member", (*cast).receiptFor, "     no_hello   forbidden    forbidden    forbidden         -      forbidden    forbidden    forbidden    forbidden     forbidden"},
	{"list_members", listing(protocol.TypeListMembers), "    no_hello   ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"list_peers", listing(protocol.TypeListPeers), "        no_hello   ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"log", listing(protocol.TypeLog), "                     no_hello   ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"set_status", (*cast).setsStatus, "                     no_hello   ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"message_status of another's", (*cast).asksStatus, "    no_hello   not_found    not_found    not_found         -      not_found    not_found    not_found    not_found     not_found"},
	{"publish a member's cert", (*cast).certifies, "         no_hello   forbidden    forbidden    foreign           -      forbidden    forbidden    forbidden    ok            ok"},
	{"publish an admin's cert", (*cast).appoints, "          no_hello   forbidden    forbidden    foreign           -      forbidden    forbidden    forbidden    forbidden     ok"},
	{"publish a ban", (*cast).bans, "                        no_hello   forbidden    forbidden    foreign           -      forbidden    forbidden    forbidden    ok            ok"},
	{"publish a ban of an admin", (*cast).bansAdmin, "       no_hello   forbidden    forbidden    foreign           -      forbidden    forbidden    forbidden    forbidden     ok"},
	{"publish a link's closing", (*cast).closesLink, "       no_hello   forbidden    forbidden    foreign           -      forbidden    forbidden    forbidden    ok            ok"},
	{"publish another's session", (*cast).publishesSession, "no_hello   forbidden    forbidden    foreign           -      forbidden    forbidden    forbidden    forbidden     forbidden"},
	{"apikey_create for himself", (*cast).createsKey, "      no_hello   forbidden    forbidden    ok                -      not_member   ok           ok           ok            forbidden"},
	{"apikey_create for bob", (*cast).createsKeyForBob, "    no_hello   forbidden    forbidden    foreign           -      forbidden    forbidden    forbidden    forbidden     forbidden"},
	{"apikey_list", listing(protocol.TypeAPIKeyList), "      no_hello   ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"apikey_revoke of bob's", (*cast).revokesKey, "         no_hello   revoked      revoked      not_found         -      not_found    revoked      not_found    revoked       revoked"},
	{"client_ack of another's mail", (*cast).acks, "         no_hello   ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"set_card", (*cast).setsCard, "                         no_hello   ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"set_grants", (*cast).setsGrants, "                     no_hello   ok           forbidden    ok                -      ok           ok           ok           ok            ok"},
	{"hello_challenge", (*cast).challenges, "                ok         ok           ok           ok                -      ok           ok           ok           ok            ok"},
	{"hello once more", (*cast).hellosAgain, "               bad_statement invalid      invalid      invalid           -      invalid      invalid      invalid      invalid       invalid"},
	{"session_hello once more", (*cast).sessionHellosAgain, "bad_statement invalid      invalid      invalid           -      invalid      invalid      invalid      invalid       invalid"},
	{"op kick", (*cast).kicks, "                             no_hello   forbidden    forbidden    not_found         -      forbidden    forbidden    forbidden    ok            ok"},
	{"op audit", (*cast).audits, "                           no_hello   forbidden    forbidden    ok                -      forbidden    forbidden    forbidden    ok            ok"},
	{"op delete", (*cast).deletes, "                         no_hello   forbidden    forbidden    forbidden         -      forbidden    forbidden    forbidden    forbidden     ok"},
	{"op that was used before", (*cast).repeatsOp, "         no_hello   unauthorized unauthorized foreign           -      unauthorized unauthorized unauthorized unauthorized  unauthorized"},
	{"op of a kind that nobody has", (*cast).unknownOp, "    no_hello   forbidden    forbidden    not_supported     -      forbidden    forbidden    forbidden    not_supported not_supported"},
}

func TestAuthorityOnConnections(t *testing.T) {
	for _, scene := range scenes {
		want := strings.Fields(scene.want)
		story(t, Limits{}, func(w *world) {
			c := stage(w)
			for i, who := range actors { // the strongest come last: what they do cannot be undone
				if want[i] == "-" {
					continue
				}
				a := who.enter(c)
				if got := scene.ask(c, a); got != want[i] {
					t.Errorf("%s by %s: %s, want %s", scene.verb, who.name, got, want[i])
				}
			}
		})
	}
}

// acks acknowledges what waits for gina, who must have it afterwards.
func (c *cast) acks(a actor) string {
	id := c.cathy.connect().Send(c.gina, "for gina alone").ID
	said := a.ask(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, ClientMessageID: id,
		BrokerMessageID: protocol.MessageID(c.world.mesh, c.cathy.key.Public(), id)})
	gina := c.gina.connect()
	gina.Want("for gina alone")
	gina.leave()
	return said
}

func (c *cast) setsCard(a actor) string {
	return a.ask(protocol.SetCard{Tag: protocol.Tag{Type: protocol.TypeSetCard}, Nonce: strings.Repeat("A", nonceSize), Ciphertext: "AAAA"})
}

func (c *cast) setsGrants(a actor) string {
	return a.ask(protocol.SetGrants{Tag: protocol.Tag{Type: protocol.TypeSetGrants}})
}

func (c *cast) challenges(a actor) string {
	return a.ask(protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge}, MeshID: string(a.w.mesh)})
}

func (c *cast) hellosAgain(a actor) string {
	return a.ask(protocol.Hello{Tag: protocol.Tag{Type: protocol.TypeHello}, MeshID: string(a.w.mesh)})
}

func (c *cast) sessionHellosAgain(a actor) string {
	return a.ask(protocol.Hello{Tag: protocol.Tag{Type: protocol.TypeSessionHello}, MeshID: string(a.w.mesh)})
}

func (c *cast) sends(a actor) string { return a.ask(a.sealed(c.cathy.key.Public())) }

// sealed is a message in form. What is in it only its recipient can judge.
func (a actor) sealed(to crypto.PublicKey) protocol.Send {
	a.client.own, a.client.control = a.client.key, true
	return a.seal(to, protocol.PriorityNext, "hello")
}

func (c *cast) sendsGroup(a actor) string {
	a.client.own, a.client.control = a.client.key, true
	return a.ask(a.sealGroup("*", "hello", c.cathy))
}

func (c *cast) sendsAs(a actor) string {
	s := a.sealed(c.alice.key.Public())
	if a.member == c.alice.key.Public() {
		s = a.sealed(c.bob.key.Public())
	}
	s.Sender = c.cathy.key.Public().String()
	return a.ask(s)
}

func (c *cast) receiptFor(a actor) string {
	return a.ask(protocol.Receipt{Tag: protocol.Tag{Type: protocol.TypeReceipt}, ClientMessageID: protocol.NewClientID(), To: c.alice.key.Public().String(),
		Recipient: c.cathy.key.Public().String(), State: string(protocol.StateRead)})
}

func listing(typ string) func(*cast, actor) string {
	return func(_ *cast, a actor) string { return a.ask(protocol.Tag{Type: typ}) }
}

func (c *cast) setsStatus(a actor) string {
	return a.ask(protocol.SetStatus{Tag: protocol.Tag{Type: protocol.TypeSetStatus}, Status: protocol.StatusWorking})
}

func (c *cast) asksStatus(a actor) string {
	s := c.cathy.connect().Send(c.alice, "between the two of us")
	return a.ask(protocol.MessageStatus{Tag: protocol.Tag{Type: protocol.TypeMessageStatus}, MessageID: s.ID})
}

func (c *cast) cert(a actor, role string) *protocol.Statement {
	return c.sign(&protocol.Cert{Mesh: a.meshOf(c), Issuer: a.signer.Public(), Member: crypto.GenerateKey().Public(), Name: "dora", Role: role,
		Issued: time.Now().Unix()}, a.signer)
}

// meshOf is the mesh that statements are about: always ours, also from him who belongs to another.
func (a actor) meshOf(c *cast) protocol.MeshID { return c.world.mesh }

func (c *cast) certifies(a actor) string { return a.publishes(c.cert(a, protocol.RoleMember)) }
func (c *cast) appoints(a actor) string  { return a.publishes(c.cert(a, protocol.RoleAdmin)) }

func (c *cast) ban(a actor, target crypto.PublicKey) string {
	return a.publishes(c.sign(&protocol.Revoke{Mesh: c.world.mesh, Issuer: a.signer.Public(), Kind: protocol.RevokeKey, Target: target, At: time.Now().Unix()}, a.signer))
}

func (c *cast) bans(a actor) string { return c.ban(a, c.cathy.key.Public()) }

func (c *cast) bansAdmin(a actor) string {
	frank := c.stranger("frank")
	c.alice.connect().wantPublished(c.certify(frank, protocol.RoleAdmin))
	if a.member == c.alice.key.Public() { // that connection was replaced just now
		a.client = c.alice.connect()
	}
	return c.ban(a, frank.key.Public())
}

func (c *cast) closesLink(a actor) string {
	return a.publishes(c.sign(&protocol.Revoke{Mesh: c.world.mesh, Issuer: a.signer.Public(), Kind: protocol.RevokeLink, Target: c.link.Public(), At: time.Now().Unix()}, a.signer))
}

func (c *cast) publishesSession(a actor) string {
	return a.publishes(c.cathy.sessionStatement(c.cathy.sessionKey("web"), "web"))
}

func (c *cast) createsKey(a actor) string {
	if !a.mesh() {
		return a.ask(c.bob.apiKey("x", 0, "send").createFrame())
	}
	p := *a.person
	p.key = a.signer
	return a.ask(p.apiKey("x", 0, "send").createFrame())
}

func (c *cast) createsKeyForBob(a actor) string {
	p := *c.bob // a statement of bob's that is stolen before it was used
	if a.member == p.key.Public() && a.signer == p.key {
		p = *c.cathy
	}
	if a.member == p.key.Public() { // hijacked: the thief has no signature of bob's
		p.key = a.signer
	}
	return a.ask(p.apiKey("x", 0, "send").createFrame())
}

func (c *cast) revokesKey(a actor) string {
	return a.ask(protocol.APIKeyRevoke{Tag: protocol.Tag{Type: protocol.TypeAPIKeyRevoke}, ID: c.ci.id()})
}

func (c *cast) kicks(a actor) string {
	c.cathy.session("web")
	return a.ops(c, protocol.OpKick, `{"key":"`+c.cathy.key.Public().String()+`"}`)
}

func (c *cast) audits(a actor) string    { return a.ops(c, protocol.OpAudit, "{}") }
func (c *cast) deletes(a actor) string   { return a.ops(c, protocol.OpDelete, "{}") }
func (c *cast) unknownOp(a actor) string { return a.ops(c, "crown", "{}") }
func (c *cast) repeatsOp(a actor) string { return a.ask(c.spent) }

// Who is let in at all.
func TestAuthorityToConnect(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		c := stage(w)
		for _, p := range []*person{c.alice, c.bob, c.eve, c.zoe} {
			p.connect().leave()
			p.session("web").leave()
		}
		owner := w.stranger("owner")
		owner.key = w.owner
		thief := w.stranger("thief")
		for _, r := range []struct {
			who  string
			p    *person
			code protocol.Code
		}{{"the banned", c.mal, protocol.CodeRevoked}, {"a stranger", thief, protocol.CodeNotMember}, {"the owner key", owner, protocol.CodeNotMember}} {
			conn := r.p.dial()
			conn.wantHelloRefused(conn.helloFor(r.p.key, "x"), r.code)
		}
		conn := c.bob.dial() // bob's name, another's signature
		h := conn.helloFor(c.bob.key, "bob")
		h.Auth = w.sign(&protocol.HelloAuth{Mesh: w.mesh, Member: thief.key.Public(), Host: testHost, Nonce: conn.challenge(), At: time.Now().UnixMilli()},
			thief.key).Text()
		conn.wantHelloRefused(h, protocol.CodeForeign)
		stray := *c.dave // of another mesh
		stray.w = w
		conn = stray.dial()
		conn.wantHelloRefused(conn.helloFor(stray.key, "x"), protocol.CodeNotMember)
	})
}

// Over HTTP it is the key that counts, and what its member still is.
func TestAuthorityOverHTTP(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		c := stage(w)
		bob, alice, mal := w.bob.connect(), w.alice.connect(), w.stranger("mallory")
		alice.wantPublished(w.certify(mal, protocol.RoleMember))
		banned := mal.connect().register(mal.apiKey("x", 0, "read", "send"))
		alice.wantPublished(w.revoke(mal.key.Public()))
		revoked := bob.register(w.bob.apiKey("revoked", 0, "read", "send"))
		bob.revokeKey(revoked.id())
		expired := bob.register(w.bob.apiKey("expired", time.Minute, "read", "send"))
		keys := []struct {
			name   string
			bearer string
			caps   []string // nil: 401
		}{
			{"key that reads", bob.register(w.bob.apiKey("reads", 0, "read")).secret.Bearer.Text(), []string{"", "read"}},
			{"key that does both", c.ci.secret.Bearer.Text(), []string{"", "read", "send"}},
			{"key that sends", bob.register(w.bob.apiKey("sends", 0, "send")).secret.Bearer.Text(), []string{"", "send"}},
			{"key of another mesh", c.dave.connect().register(c.dave.apiKey("x", 0, "read", "send")).secret.Bearer.Text(), []string{"", "read", "send"}},
			{"revoked key", revoked.secret.Bearer.Text(), nil},
			{"expired key", expired.secret.Bearer.Text(), nil},
			{"key of a banned member", banned.secret.Bearer.Text(), nil},
			{"admin token", w.srv.AdminToken(), nil},
			{"nobody", "", nil},
		}
		time.Sleep(2 * time.Minute)
		for _, k := range keys {
			time.Sleep(time.Minute) // the refusals of one do not count for the next
			for _, r := range restRoutes {
				method, path, _ := strings.Cut(strings.ReplaceAll(r.pattern, "{id}", "m1-1"), " ")
				status, body := w.rest(k.bearer, method, path, nil)
				switch {
				case k.caps == nil:
					if status != http.StatusUnauthorized {
						t.Errorf("%s %s with %s: %d %s, want 401", method, path, k.name, status, body)
					}
				case !slices.Contains(k.caps, r.needs):
					if status != http.StatusForbidden || !strings.Contains(string(body), protocol.RESTKeyNotEnough) {
						t.Errorf("%s %s with %s: %d %s, want 403", method, path, k.name, status, body)
					}
				case status == http.StatusUnauthorized || status == http.StatusForbidden:
					t.Errorf("%s %s with %s: %d %s, want to be let in", method, path, k.name, status, body)
				}
			}
		}
		// What a key of another mesh sees is that mesh.
		foreign := keys[3].bearer
		if _, body := w.rest(foreign, "GET", "/api/v1/members", nil); strings.Contains(string(body), "alice") || !strings.Contains(string(body), "dave") {
			t.Errorf("a key of another mesh lists %s", body)
		}
	})
}
