package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/claudemesh/claudemesh/protocol"
)

// version is the schema of config.json: the original's. What we add stands in keys that original clients do not know.
const version = 1

// maxConfig bounds what is read: far above any list of meshes, far below what would hurt.
const maxConfig = 16 << 20

// Config is config.json. The zero value is one without meshes.
type Config struct {
	DisplayName string       // name to join with by default
	DefaultMesh string       // slug; may name a mesh that is gone
	LocalBroker string       // address for the broker that the daemon runs itself; empty: none
	RESTListen  string       // loopback address of the daemon's REST interface; empty: none
	Meshes      []Membership // ours, in the file's order
	Originals   []Original   // memberships of an original client, which are left alone

	doc     object
	entries []entry
}

// entry is one item of "meshes" as it was read: the mesh id of one of ours, or an original's bytes.
type entry struct {
	id  protocol.MeshID
	raw json.RawMessage
}

// Original is a mesh that an original client joined.
type Original struct {
	Slug, MeshID, Name, BrokerURL string
}

// Load reads config.json. Where there is none, the Config is empty. Errors are *protocol.Error: forbidden for a file that
// others may read, not_supported for a newer schema, invalid for a broken one.
func (h Home) Load() (*Config, error) {
	b, err := h.readConfig()
	if errors.Is(err, fs.ErrNotExist) {
		return &Config{doc: object{}}, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", h.ConfigFile(), err)
	}
	return c, nil
}

func (h Home) readConfig() ([]byte, error) {
	f, err := os.Open(h.ConfigFile())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = protocol.Refuse(protocol.CodeInvalid, "longer than %d MiB", maxConfig>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", h.ConfigFile(), err)
	}
	return b, nil
}

func parseConfig(b []byte) (*Config, error) {
	doc, err := parseObject(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))) // some editors write a byte order mark
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "not valid JSON: %v", err)
	}
	c := &Config{doc: doc}
	if err := c.checkVersion(); err != nil {
		return nil, err
	}
	var items []json.RawMessage
	for name, v := range map[string]any{"displayName": &c.DisplayName, "defaultMesh": &c.DefaultMesh, "localBroker": &c.LocalBroker, "restListen": &c.RESTListen, "meshes": &items} {
		if _, err := doc.get(name, v); err != nil {
			return nil, protocol.Refuse(protocol.CodeInvalid, "%s: %v", name, err)
		}
	}
	for i, raw := range items {
		if err := c.addEntry(raw); err != nil {
			return nil, protocol.Refuse(protocol.CodeInvalid, "meshes[%d]: %v", i, err)
		}
	}
	return c, nil
}

func (c *Config) checkVersion() error {
	v := version
	if _, err := c.doc.get("version", &v); err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "version: %v", err)
	}
	if v > version {
		return protocol.Refuse(protocol.CodeNotSupported, "schema %d was written by a newer claudemesh; this one knows %d", v, version).
			WithHint("install the newer claudemesh again; this one leaves the file alone")
	}
	return nil
}

// addEntry takes one item of the list. Ours has a charter.
func (c *Config) addEntry(raw json.RawMessage) error {
	o, err := parseObject(raw)
	if err != nil {
		return err
	}
	if !o.has("charter") {
		c.entries = append(c.entries, entry{raw: raw})
		c.Originals = append(c.Originals, originalOf(o))
		return nil
	}
	m, err := membershipOf(o)
	if err != nil {
		return err
	}
	if c.Mesh(m.Slug) != nil || c.ByID(m.MeshID) != nil {
		return fmt.Errorf("mesh %q is listed twice", m.Slug)
	}
	c.entries = append(c.entries, entry{id: m.MeshID})
	c.Meshes = append(c.Meshes, m)
	return nil
}

// originalOf takes what it understands: an original's entry is shown, never judged.
func originalOf(o object) Original {
	var x Original
	for name, v := range map[string]*string{"slug": &x.Slug, "meshId": &x.MeshID, "name": &x.Name, "brokerUrl": &x.BrokerURL} {
		if _, err := o.get(name, v); err != nil {
			*v = ""
		}
	}
	return x
}

// Mesh returns the membership of that slug, nil when there is none. The pointer may be written through inside Update.
func (c *Config) Mesh(slug string) *Membership {
	for i := range c.Meshes {
		if c.Meshes[i].Slug == slug {
			return &c.Meshes[i]
		}
	}
	return nil
}

// ByID returns the membership of that mesh, nil when there is none.
func (c *Config) ByID(id protocol.MeshID) *Membership {
	for i := range c.Meshes {
		if c.Meshes[i].MeshID == id {
			return &c.Meshes[i]
		}
	}
	return nil
}

// FreeSlug is the label for a mesh that calls itself slug: that, or with -2, -3, … where a mesh of ours or of an original
// client has it.
func (c *Config) FreeSlug(slug string) string {
	label := slug
	for n := 2; c.slugTaken(label); n++ {
		suffix := "-" + strconv.Itoa(n)
		label = slug[:min(len(slug), maxSlug-len(suffix))] + suffix
	}
	return label
}

// maxSlug is the length of a slug, as its rule in package protocol has it.
const maxSlug = 32

func (c *Config) slugTaken(slug string) bool {
	for _, o := range c.Originals {
		if o.Slug == slug {
			return true
		}
	}
	return c.Mesh(slug) != nil
}

// Add appends a membership.
func (c *Config) Add(m Membership) { c.Meshes = append(c.Meshes, m) }

// Remove drops the membership of that slug and reports whether there was one.
func (c *Config) Remove(slug string) bool {
	for i := range c.Meshes {
		if c.Meshes[i].Slug == slug {
			c.Meshes = append(c.Meshes[:i:i], c.Meshes[i+1:]...)
			return true
		}
	}
	return false
}

// Update changes config.json under its lock: it loads, runs change and saves, unless change returns an error. change must
// not call Update. An empty Config that nothing was put into leaves no file behind.
func (h Home) Update(change func(*Config) error) error {
	lock, err := h.Lock("config")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	c, err := h.Load()
	if err != nil {
		return err
	}
	before := c.encode()
	if err := change(c); err != nil {
		return err
	}
	after := c.encode()
	if string(after) == string(before) {
		return nil
	}
	if _, err := parseConfig(after); err != nil {
		return fmt.Errorf("change %s: %w", h.ConfigFile(), err)
	}
	return WriteFile(h.ConfigFile(), after)
}

// encode lays config.json out, originals and unknown keys with the bytes that they came with.
func (c *Config) encode() []byte {
	doc := append(object(nil), c.doc...)
	if !doc.has("version") {
		doc.set("version", mustJSON(version))
	}
	doc.setString("displayName", c.DisplayName)
	doc.setString("defaultMesh", c.DefaultMesh)
	doc.setString("localBroker", c.LocalBroker)
	doc.setString("restListen", c.RESTListen)
	doc.set("meshes", encodeList(c.items(), "  "))
	return append(doc.encode(""), '\n')
}

// items are the entries that were read, in their order, without those removed since, and then the new ones.
func (c *Config) items() []json.RawMessage {
	items := []json.RawMessage{}
	seen := map[protocol.MeshID]bool{}
	for _, e := range c.entries {
		if e.raw != nil {
			items = append(items, e.raw)
			continue
		}
		if m := c.ByID(e.id); m != nil {
			items = append(items, m.encode("    "))
		}
		seen[e.id] = true
	}
	for i := range c.Meshes {
		if !seen[c.Meshes[i].MeshID] {
			items = append(items, c.Meshes[i].encode("    "))
		}
	}
	return items
}
