package cli

import (
	"context"
	"maps"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func meshVerb() *verb {
	return &verb{
		name: "mesh", heading: headStart, usage: "list the meshes you joined, pick the one to act in, look at one",
		subs: []*verb{
			{name: "list", usage: "list the meshes you joined", flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh mesh list --json"}, run: runMeshList},
			{name: "use", usage: "act in this mesh where none is named", args: "<slug>", min: 1, max: 1, flags: []urfave.Flag{jsonFlag()},
				examples: []string{"claudemesh mesh use acme"}, run: runMeshUse},
			{name: "info", usage: "look at one mesh", args: "[slug]", min: 0, max: 1, flags: []urfave.Flag{jsonFlag()},
				examples: []string{"claudemesh mesh info acme"}, run: runMeshInfo},
			meshInboundVerb(), meshReceiptsVerb(), meshRenameVerb(), meshDeleteVerb(), promoteVerb(), demoteVerb(), ownerKeyVerb(),
		},
	}
}

func listVerb() *verb {
	return &verb{name: "list", usage: "the same as mesh list", flags: []urfave.Flag{jsonFlag()}, run: runMeshList}
}

func runMeshList(ctx context.Context, c *call) error {
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return err
	}
	meshes, err := cl.Meshes(ctx)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(meshes))
		return nil
	}
	if len(meshes) == 0 {
		c.note("no mesh joined yet: claudemesh create <slug>, or claudemesh join <link>")
		return nil
	}
	var rows [][]string
	for _, m := range meshes {
		slug := m.Mesh
		if m.Default {
			slug += " *"
		}
		rows = append(rows, []string{slug, clean(m.Name), m.Role, m.State, m.Broker, shortID(m.MeshID)})
	}
	c.table([]string{"MESH", "YOU", "ROLE", "STATE", "BROKER", "ID"}, rows)
	return nil
}

func runMeshUse(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	slug := c.arg(0)
	err = home.Update(func(cfg *config.Config) error {
		if cfg.Mesh(slug) == nil {
			return noSuchMesh(slug, slugsOf(cfg))
		}
		cfg.DefaultMesh = slug
		return nil
	})
	if err != nil {
		return err
	}
	awaitMesh(ctx, home, settleTimeout, func(m protocol.MeshInfo) bool { return m.Mesh == slug && m.Default })
	return c.done("acting in %s from now on", slug)
}

func slugsOf(cfg *config.Config) []string {
	var slugs []string
	for _, m := range cfg.Meshes {
		slugs = append(slugs, m.Slug)
	}
	return slugs
}

func noSuchMesh(slug string, slugs []string) error {
	e := protocol.Refuse(protocol.CodeNotFound, "no mesh %q joined", slug)
	e.Names = slugs
	if len(slugs) == 0 {
		return e.WithHint("claudemesh join <link>")
	}
	return e
}

func runMeshInfo(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	h, err := settled(ctx, cl)
	if err != nil {
		return err
	}
	m, err := pickMesh(ctx, cl, c.arg(0))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(m)
		return nil
	}
	c.say("%s", c.paint(bold, m.Mesh))
	for _, row := range [][2]string{
		{"id", m.MeshID}, {"broker", m.Broker}, {"you", clean(m.Name) + ", " + m.Role + ", " + string(m.Trust)}, {"your key", m.Pubkey},
		{"owner key", m.Owner}, {"connection", c.connection(h.Meshes[m.Mesh])},
	} {
		c.say("    %-11s %s", row[0], row[1])
	}
	return nil
}

// pickMesh returns the mesh of that slug, or, with none, the default one.
func pickMesh(ctx context.Context, cl *client.Client, slug string) (protocol.MeshInfo, error) {
	meshes, err := cl.Meshes(ctx)
	if err != nil {
		return protocol.MeshInfo{}, err
	}
	var slugs []string
	for _, m := range meshes {
		if m.Mesh == slug || slug == "" && (m.Default || len(meshes) == 1) {
			return m, nil
		}
		slugs = append(slugs, m.Mesh)
	}
	if slug != "" || len(slugs) == 0 {
		if slug == "" {
			return protocol.MeshInfo{}, protocol.Refuse(protocol.CodeNotFound, "no mesh joined yet").WithHint("claudemesh create <slug>, or claudemesh join <link>")
		}
		return protocol.MeshInfo{}, noSuchMesh(slug, slugs)
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "which mesh? there are %s", listAnd(slugs)).WithHint("name one, or claudemesh mesh use <slug>")
	e.Names = slugs
	return protocol.MeshInfo{}, e
}

// done says that a verb without a result did its work.
func (c *call) done(format string, args ...any) error {
	if c.json {
		c.printJSON(protocol.OKReply{OK: true})
		return nil
	}
	c.say(format, args...)
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
