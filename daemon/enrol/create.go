package enrol

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// EnvAdminToken is the environment variable with a broker's admin token, EnvName that with the name to join with.
const (
	EnvAdminToken = "CLAUDEMESH_ADMIN_TOKEN"
	EnvName       = "CLAUDEMESH_DISPLAY_NAME"
)

// CreateOptions of Create. Home, Slug and BrokerURL are needed.
type CreateOptions struct {
	Home       config.Home
	Slug       string
	BrokerURL  string // as typed: host, host:port, or a URL
	Name       string // of the creator; empty: see DefaultName
	AdminToken string // empty: TokenFile, the environment, or the data directory of a broker on this machine
	TokenFile  string
	NoRecovery bool // no recovery key: whoever steals the owner key keeps the mesh
	Insecure   bool // ws:// to another host

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil means net.Dialer
	Now  func() time.Time                                                  // nil means time.Now
}

// Created is a new mesh.
type Created struct {
	Membership   config.Membership
	OwnerKeyFile string
	Recovery     *crypto.PrivateKey // nil with NoRecovery
	RecoveryFile string             // holds the seed; to be removed once it was shown. Empty with NoRecovery
}

// RecoverySeed is the secret to print once, 64 hex digits, or "" with NoRecovery. Whoever has it can take the mesh over.
func (c *Created) RecoverySeed() string {
	if c.Recovery == nil {
		return ""
	}
	seed := c.Recovery.Seed()
	return hex.EncodeToString(seed[:])
}

// Create founds a mesh on a broker and joins it as its first admin. The owner key and the recovery seed are on disk before the
// broker hears of it, and gone again if the broker refuses. Errors are *protocol.Error where they are anybody's but this machine's.
func Create(ctx context.Context, o CreateOptions) (*Created, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	wsURL, token, err := checkCreate(&o)
	if err != nil {
		return nil, err
	}
	f, err := found(o, wsURL)
	if err != nil {
		return nil, err
	}
	made := &Created{Membership: f.member, Recovery: f.recovery}
	if err := made.saveKeys(o, f.owner); err != nil {
		return nil, errors.Join(err, made.dropKeys())
	}
	err = brokerhttp.For(o.Dial, o.Now).Post(ctx, wsURL, "/api/v1/meshes", token, protocol.CreateRequest{Statements: f.statements}, new(protocol.CreateReply))
	if err != nil {
		return nil, errors.Join(explainCreate(err), made.dropKeys())
	}
	err = o.Home.Update(func(c *config.Config) error {
		if err := freeToCreate(c, o.Slug); err != nil {
			return err
		}
		c.Add(f.member)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// saveKeys writes what nobody can make again.
func (c *Created) saveKeys(o CreateOptions, owner *crypto.PrivateKey) error {
	path, err := o.Home.SaveOwnerKey(o.Slug, c.Membership.MeshID, owner, nil)
	if err != nil {
		return err
	}
	if c.OwnerKeyFile = path; c.Recovery == nil {
		return nil
	}
	if path, err = o.Home.SaveRecoverySeed(o.Slug, c.Membership.MeshID, c.RecoverySeed()); err == nil {
		c.RecoveryFile = path
	}
	return err
}

// dropKeys removes what saveKeys wrote.
func (c *Created) dropKeys() (err error) {
	for _, path := range []string{c.OwnerKeyFile, c.RecoveryFile} {
		if path != "" {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// checkCreate checks everything that needs no network.
func checkCreate(o *CreateOptions) (wsURL, token string, err error) {
	if !protocol.ValidSlug(o.Slug) {
		return "", "", protocol.Refuse(protocol.CodeInvalid, "%q cannot be a mesh's name", o.Slug).WithHint("1 to 32 of a-z, 0-9 and -, not beginning with -")
	}
	c, err := o.Home.Load()
	if err != nil {
		return "", "", err
	}
	if err := freeToCreate(c, o.Slug); err != nil {
		return "", "", err
	}
	if o.Name, err = pickName(o.Name, c); err != nil {
		return "", "", err
	}
	if wsURL, err = protocol.NormalizeBrokerURL(o.BrokerURL); err != nil {
		return "", "", err
	}
	if err = protocol.CheckBrokerURL(wsURL, o.Insecure); err != nil {
		return "", "", err
	}
	token, err = adminToken(o, wsURL)
	return wsURL, token, err
}

func freeToCreate(c *config.Config, slug string) error {
	if c.FreeSlug(slug) != slug {
		return protocol.Refuse(protocol.CodeExists, "a mesh %q is joined already", slug).WithHint("choose another name")
	}
	return nil
}

// founding is what a new mesh begins with.
type founding struct {
	owner, recovery *crypto.PrivateKey
	member          config.Membership
	statements      []string // for the broker
}

// found makes the keys of a mesh and signs its first statements.
func found(o CreateOptions, wsURL string) (*founding, error) {
	f := &founding{owner: crypto.GenerateKey()}
	now := o.Now()
	charter := &protocol.Charter{Owner: f.owner.Public(), Created: now.Unix(), Random: [16]byte(crypto.RandomBytes(16)), Slug: o.Slug}
	if !o.NoRecovery {
		f.recovery = crypto.GenerateKey()
		charter.Recovery = f.recovery.Public()
	}
	key := crypto.GenerateKey()
	mesh := charter.MeshID()
	bodies := []protocol.Body{charter, &protocol.Cert{
		Mesh: mesh, Issuer: f.owner.Public(), Member: key.Public(), Name: o.Name, Role: protocol.RoleAdmin, Issued: now.Unix(),
	}}
	for _, body := range bodies {
		s, err := protocol.Sign(body, f.owner)
		if err != nil {
			return nil, err
		}
		f.statements = append(f.statements, s.Text())
	}
	f.member = config.Membership{
		Slug: o.Slug, MeshID: mesh, Name: o.Name, Key: key, BrokerURL: wsURL,
		JoinedAt: now, Charter: f.statements[0], Cert: f.statements[1], Log: f.statements[2:], Insecure: o.Insecure,
	}
	return f, nil
}

// adminToken finds the token that the broker wants. The one in the data directory of this machine's broker is offered to
// loopback alone.
func adminToken(o *CreateOptions, wsURL string) (string, error) {
	path := o.TokenFile
	switch {
	case o.AdminToken != "":
		return o.AdminToken, nil
	case path != "":
	case os.Getenv(EnvAdminToken) != "":
		return os.Getenv(EnvAdminToken), nil
	case isLoopback(wsURL):
		path = filepath.Join(o.Home.BrokerDir(), "admin-token")
	}
	hint := "the broker's operator has it in <data>/admin-token: pass it with --token-file or " + EnvAdminToken
	if path == "" {
		return "", protocol.Refuse(protocol.CodeUnauthorized, "making a mesh on %s needs its admin token", protocol.BrokerHost(wsURL)).WithHint("%s", hint)
	}
	b, err := os.ReadFile(path)
	token := strings.TrimSpace(string(b))
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.TokenFile == "":
		return "", protocol.Refuse(protocol.CodeUnauthorized, "there is no admin token in %s", path).WithHint("%s", hint)
	case err != nil:
		return "", protocol.Refuse(protocol.CodeUnauthorized, "read the admin token: %v", err).WithHint("%s", hint)
	case token == "":
		return "", protocol.Refuse(protocol.CodeUnauthorized, "%s is empty", path).WithHint("%s", hint)
	}
	return token, nil
}

func isLoopback(wsURL string) bool {
	host := protocol.BrokerHost(wsURL)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// explainCreate adds what to do about a refusal.
func explainCreate(err error) error {
	if e, ok := errors.AsType[*protocol.Error](err); ok && e.Code == protocol.CodeUnauthorized {
		return e.WithHint("the admin token is not this broker's: it stands in <data>/admin-token on the broker's machine")
	}
	return err
}

// DefaultName is the name to join with where the user gives none: the environment's, that of config.json, the login name.
func DefaultName(c *config.Config) string {
	for _, name := range []string{os.Getenv(EnvName), c.DisplayName, loginName()} {
		if name = asName(name); name != "" {
			return name
		}
	}
	return "member"
}

func loginName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username[strings.LastIndexByte(u.Username, '\\')+1:] // DOMAIN\name on Windows
}

// asName makes a valid name of what somebody is called, "" if nothing is left.
func asName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.ToLower(strings.TrimSpace(s)))
	s = strings.TrimLeft(s, "._-")
	s = s[:min(len(s), 32)]
	if protocol.LikeKey(s) {
		s = s[:min(len(s), 30)] + "-1" // as the second of that name would be called
	}
	return s
}

// pickName returns the name given, or the default.
func pickName(name string, c *config.Config) (string, error) {
	if name == "" {
		return DefaultName(c), nil
	}
	if protocol.LikeKey(name) {
		return "", protocol.Refuse(protocol.CodeInvalid, "%q cannot be a name: it looks like the beginning of a key", name).WithHint("add a letter behind f, or one of . _ -")
	}
	if !protocol.ValidName(name) {
		return "", protocol.Refuse(protocol.CodeInvalid, "%q cannot be a name", name).WithHint("1 to 32 of a-z, 0-9, and . _ - behind the first")
	}
	return name, nil
}
