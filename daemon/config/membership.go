package config

import (
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Membership is one joined mesh. Statements are kept as they are on the wire (base64url).
type Membership struct {
	Slug      string // local label
	MeshID    protocol.MeshID
	Name      string // asked for at joining; the name that counts is in the certificate
	Key       *crypto.PrivateKey
	BrokerURL string // ws:// or wss://
	JoinedAt  time.Time
	Charter   string
	Cert      string   // empty until admitted
	Invite    string   // empty for the creator
	Enrol     string   // empty for the creator
	Log       []string // other statements known at joining or creating: the first view, before the broker is heard
	Inbound   string   // accept (also when empty), hold or refuse: what becomes of messages of members
	Receipts  string   // off: senders are not told that a message was shown or read; else empty
	Insecure  bool     // ws:// to another host was allowed

	doc object
}

func membershipOf(o object) (Membership, error) {
	m := Membership{doc: o}
	var secret, pubkey, joined string
	for _, f := range []struct {
		name string
		into any
	}{
		{"slug", &m.Slug}, {"meshId", &m.MeshID}, {"name", &m.Name}, {"pubkey", &pubkey},
		{"secretKey", &secret}, {"brokerUrl", &m.BrokerURL}, {"joinedAt", &joined}, {"charter", &m.Charter}, {"cert", &m.Cert},
		{"invite", &m.Invite}, {"enrol", &m.Enrol}, {"log", &m.Log}, {"inbound", &m.Inbound}, {"receipts", &m.Receipts}, {"insecure", &m.Insecure},
	} {
		if _, err := o.get(f.name, f.into); err != nil {
			return Membership{}, fmt.Errorf("%s has the wrong type", f.name) // the cause could repeat the key
		}
	}
	if m.Slug == "" || m.MeshID == "" || m.BrokerURL == "" {
		return Membership{}, fmt.Errorf("slug, meshId and brokerUrl are needed")
	}
	key, err := crypto.ParsePrivateKey(secret)
	if err != nil {
		return Membership{}, fmt.Errorf("secretKey: %w", err)
	}
	if key.Public().String() != pubkey {
		return Membership{}, fmt.Errorf("pubkey is not the public half of secretKey")
	}
	m.Key = key
	if m.JoinedAt, err = time.Parse(time.RFC3339, joined); err != nil {
		return Membership{}, fmt.Errorf("joinedAt is not a time")
	}
	return m, nil
}

// encode writes the fields over what the entry had when it was read.
func (m *Membership) encode(indent string) []byte {
	o := append(object(nil), m.doc...)
	o.set("meshId", mustJSON(m.MeshID))
	o.set("slug", mustJSON(m.Slug))
	o.set("name", mustJSON(m.Name))
	o.set("pubkey", mustJSON(m.Key.Public()))
	o.set("secretKey", mustJSON(m.Key.Hex()))
	o.set("brokerUrl", mustJSON(m.BrokerURL))
	o.set("joinedAt", mustJSON(m.JoinedAt.UTC().Format(time.RFC3339)))
	o.set("charter", mustJSON(m.Charter))
	o.setString("cert", m.Cert)
	o.setString("invite", m.Invite)
	o.setString("enrol", m.Enrol)
	o.setString("inbound", m.Inbound)
	o.setString("receipts", m.Receipts)
	if len(m.Log) > 0 {
		o.set("log", mustJSON(m.Log))
	} else {
		o.remove("log")
	}
	if m.Insecure {
		o.set("insecure", mustJSON(true))
	} else {
		o.remove("insecure")
	}
	return o.encode(indent)
}

// Equal reports whether both would be written alike.
func (m *Membership) Equal(other *Membership) bool {
	return string(m.encode("")) == string(other.encode(""))
}
