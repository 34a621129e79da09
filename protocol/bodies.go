package protocol

import (
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
)

// The kinds of statement, which are the contexts of their blocks.
const (
	KindCharter = "charter"
	KindOwner   = "owner"
	KindCert    = "cert"
	KindRevoke  = "revoke"
	KindInvite  = "invite"
	KindEnrol   = "enrol"
	KindSession = "session"
	KindAPIKey  = "apikey"
	KindHello   = "hello"
	KindOp      = "op"

	KindBlobPass = "blob"
)

// Body is what a statement says: a *Charter, *OwnerChange, *Cert, *Revoke, *Invite, *Enrol, *Session, *APIKey,
// *HelloAuth, *Op or *BlobPass. Times are Unix seconds, or milliseconds where the field says so; a zero key is an absent one.
type Body interface {
	kind() string
	visit(*fields)               // every field, in the order of the block
	signers() []crypto.PublicKey // whose signatures follow the block, in order
}

// bodies tells for each kind the number of its fields, and makes an empty one.
var bodies = map[string]struct {
	fields int
	empty  func() Body
}{
	KindCharter: {5, func() Body { return new(Charter) }},
	KindOwner:   {6, func() Body { return new(OwnerChange) }},
	KindCert:    {6, func() Body { return new(Cert) }},
	KindRevoke:  {7, func() Body { return new(Revoke) }},
	KindInvite:  {8, func() Body { return new(Invite) }},
	KindEnrol:   {5, func() Body { return new(Enrol) }},
	KindSession: {8, func() Body { return new(Session) }},
	KindAPIKey:  {8, func() Body { return new(APIKey) }},
	KindHello:   {8, func() Body { return new(HelloAuth) }},
	KindOp:      {5, func() Body { return new(Op) }},

	KindBlobPass: {8, func() Body { return new(BlobPass) }},
}

// Charter founds a mesh. Its hash is the mesh's id. Signed by the owner.
type Charter struct {
	Owner    crypto.PublicKey
	Recovery crypto.PublicKey // may replace the owner whatever the owner signs; absent with --no-recovery
	Created  int64
	Random   [16]byte // makes two meshes of one owner and second two
	Slug     string
}

func (*Charter) kind() string                  { return KindCharter }
func (c *Charter) signers() []crypto.PublicKey { return []crypto.PublicKey{c.Owner} }
func (c *Charter) visit(f *fields) {
	f.key("owner", &c.Owner)
	f.keyOrAbsent("recovery", &c.Recovery)
	f.seconds("created", &c.Created)
	f.bytes("random", c.Random[:])
	f.text("slug", &c.Slug, ruleSlug)
}

// MeshID returns the id of the mesh that c founds, or "" when c breaks a rule.
func (c *Charter) MeshID() MeshID {
	block, err := encodeBody(c)
	if err != nil {
		return ""
	}
	return meshIDOf(block)
}

// OwnerChange hands the mesh over to another owner key. Signed by By, which must be the recovery key or the owner.
type OwnerChange struct {
	Mesh     MeshID
	By       crypto.PublicKey
	N        uint64 // 1 for the first hand-over of the mesh
	New      crypto.PublicKey
	Recovery crypto.PublicKey // the recovery key from now on; only the recovery key may change it
	Keep     []ID             // what the owner that goes signed and what stays in force; the rest is void
}

func (*OwnerChange) kind() string                  { return KindOwner }
func (o *OwnerChange) signers() []crypto.PublicKey { return []crypto.PublicKey{o.By} }
func (o *OwnerChange) visit(f *fields) {
	f.mesh(&o.Mesh)
	f.key("by", &o.By)
	f.uint("n", &o.N)
	f.key("new owner", &o.New)
	f.keyOrAbsent("recovery", &o.Recovery)
	f.ids("keep", &o.Keep)
}

// Cert says that a key is a member of this name. Signed by the issuer: the owner, or for RoleMember an admin.
type Cert struct {
	Mesh   MeshID
	Issuer crypto.PublicKey
	Member crypto.PublicKey
	Name   string
	Role   string
	Issued int64 // decides only which of two names of one key is the newer
}

func (*Cert) kind() string                  { return KindCert }
func (c *Cert) signers() []crypto.PublicKey { return []crypto.PublicKey{c.Issuer} }
func (c *Cert) visit(f *fields) {
	f.mesh(&c.Mesh)
	f.key("issuer", &c.Issuer)
	f.key("member", &c.Member)
	f.text("name", &c.Name, ruleName)
	f.text("role", &c.Role, ruleRole)
	f.seconds("issued", &c.Issued)
	f.usable("member", &c.Member)
}

// Revoke takes back. Signed by the issuer.
type Revoke struct {
	Mesh   MeshID
	Issuer crypto.PublicKey
	Kind   string // RevokeKey, RevokeAdmin or RevokeLink
	Target crypto.PublicKey
	Keep   []ID // what an admin that goes signed and what stays in force; the rest is void
	At     int64
	Reason string
}

func (*Revoke) kind() string                  { return KindRevoke }
func (r *Revoke) signers() []crypto.PublicKey { return []crypto.PublicKey{r.Issuer} }
func (r *Revoke) visit(f *fields) {
	f.mesh(&r.Mesh)
	f.key("issuer", &r.Issuer)
	f.text("kind", &r.Kind, ruleRevoke)
	f.key("target", &r.Target)
	f.ids("keep", &r.Keep)
	f.seconds("at", &r.At)
	f.text("reason", &r.Reason, ruleReason)
}

// Invite makes a link: who holds the private half of Link may enrol. Signed by the issuer: an admin, or for RoleAdmin the
// owner.
type Invite struct {
	Mesh    MeshID
	Issuer  crypto.PublicKey
	Link    crypto.PublicKey
	Role    string
	Uses    uint64           // 1 to 1,000; counted by the issuer's daemon
	Expires int64            // by the reader's own clock
	URL     string           // of the broker; see CheckBrokerURL
	Owner   crypto.PublicKey // of the mesh when the link was made: tells a joiner whose mesh it is
}

func (*Invite) kind() string                  { return KindInvite }
func (i *Invite) signers() []crypto.PublicKey { return []crypto.PublicKey{i.Issuer} }
func (i *Invite) visit(f *fields) {
	f.mesh(&i.Mesh)
	f.key("issuer", &i.Issuer)
	f.key("link key", &i.Link)
	f.text("role", &i.Role, ruleRole)
	f.uint("uses", &i.Uses)
	f.seconds("expires", &i.Expires)
	f.text("broker url", &i.URL, ruleURL)
	f.key("owner", &i.Owner)
	if i.Uses < 1 || i.Uses > 1000 {
		f.fail("uses", "is not a number from 1 to 1000")
	}
}

// Enrol says who uses a link. Signed by the link key and by the member.
type Enrol struct {
	Mesh   MeshID
	Link   crypto.PublicKey
	Member crypto.PublicKey
	Name   string // as wished; the issuer's daemon makes it unique
	At     int64
}

func (*Enrol) kind() string                  { return KindEnrol }
func (e *Enrol) signers() []crypto.PublicKey { return []crypto.PublicKey{e.Link, e.Member} }
func (e *Enrol) visit(f *fields) {
	f.mesh(&e.Mesh)
	f.key("link key", &e.Link)
	f.key("member", &e.Member)
	f.text("name", &e.Name, ruleName)
	f.seconds("at", &e.At)
	f.usable("member", &e.Member)
}

// Session says that a session key acts for a member. On a control connection Session is the member key itself. Signed by the
// member and by the session key.
type Session struct {
	Mesh     MeshID
	Member   crypto.PublicKey
	Session  crypto.PublicKey
	Label    string
	Groups   []string
	Features []string
	Issued   int64 // Unix ms
	Expires  int64 // Unix ms
}

func (*Session) kind() string                  { return KindSession }
func (s *Session) signers() []crypto.PublicKey { return []crypto.PublicKey{s.Member, s.Session} }
func (s *Session) visit(f *fields) {
	f.mesh(&s.Mesh)
	f.key("member", &s.Member)
	f.key("session", &s.Session)
	f.text("label", &s.Label, ruleLabel)
	f.texts("groups", &s.Groups, ruleGroup)
	f.texts("features", &s.Features, ruleFeature)
	f.millis("issued", &s.Issued)
	f.millis("expires", &s.Expires)
	f.usable("member", &s.Member)
	f.usable("session", &s.Session)
}

// HasGroup reports whether s names the group.
func (s *Session) HasGroup(group string) bool { return slices.Contains(s.Groups, group) }

// APIKey says that a key acts for a member within limits. Signed by the member and by the key.
type APIKey struct {
	Mesh    MeshID
	Member  crypto.PublicKey
	Key     crypto.PublicKey
	Label   string
	Caps    []string
	Topics  []string
	Issued  int64 // Unix ms
	Expires int64 // Unix ms; 0: never
}

func (*APIKey) kind() string                  { return KindAPIKey }
func (a *APIKey) signers() []crypto.PublicKey { return []crypto.PublicKey{a.Member, a.Key} }
func (a *APIKey) visit(f *fields) {
	f.mesh(&a.Mesh)
	f.key("member", &a.Member)
	f.key("key", &a.Key)
	f.text("label", &a.Label, ruleLabel)
	f.texts("caps", &a.Caps, ruleFeature)
	f.texts("topics", &a.Topics, ruleGroup)
	f.millis("issued", &a.Issued)
	f.millis("expires", &a.Expires)
	f.usable("member", &a.Member)
	f.usable("key", &a.Key)
}

// FeatureHost in a hello says that its keys are at home there: a connection of another instance that does not say so gives
// way.
const FeatureHost = "host"

// HelloAuth proves to one broker, on one connection, that whoever connects holds the key. Signed by the member, and for a session
// by its key as well: who has only that connects nowhere, and decides nothing about where the member is at home.
type HelloAuth struct {
	Mesh     MeshID
	Member   crypto.PublicKey
	Session  crypto.PublicKey // zero: the member's control connection
	Host     string           // host[:port] of the broker as dialled: another broker cannot pass the proof on
	Nonce    [32]byte         // the broker's
	At       int64            // Unix ms
	Features []string
	Instance [8]byte // of this installation: two live ones with one key are clones
}

func (*HelloAuth) kind() string { return KindHello }
func (h *HelloAuth) signers() []crypto.PublicKey {
	if h.Session.IsZero() {
		return []crypto.PublicKey{h.Member}
	}
	return []crypto.PublicKey{h.Member, h.Session}
}
func (h *HelloAuth) visit(f *fields) {
	f.mesh(&h.Mesh)
	f.key("member", &h.Member)
	f.keyOrAbsent("session", &h.Session)
	f.text("broker host", &h.Host, ruleHost)
	f.bytes("nonce", h.Nonce[:])
	f.millis("at", &h.At)
	f.texts("features", &h.Features, ruleFeature)
	f.bytes("instance", h.Instance[:])
	f.usable("member", &h.Member)
	f.usable("session", &h.Session)
}

// Op asks the broker for something that is no statement of trust: delete, rename, kick. Signed by By.
type Op struct {
	Mesh  MeshID
	By    crypto.PublicKey
	Nonce [32]byte // the broker's: an op counts once
	Verb  string
	JSON  []byte // arguments
}

func (*Op) kind() string                  { return KindOp }
func (o *Op) signers() []crypto.PublicKey { return []crypto.PublicKey{o.By} }
func (o *Op) visit(f *fields) {
	f.mesh(&o.Mesh)
	f.key("by", &o.By)
	f.bytes("nonce", o.Nonce[:])
	f.text("verb", &o.Verb, ruleReason)
	f.json("arguments", &o.JSON)
}
