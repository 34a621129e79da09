package cli

import (
	"context"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

func runGroups(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	h, err := settled(ctx, cl)
	if err != nil {
		return err
	}
	session, err := c.acting(ctx, cl)
	if err != nil {
		return err
	}
	groups, err := cl.Groups(ctx, c.str("mesh"), session)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(groups))
	} else {
		c.printGroups(groups)
	}
	return c.wholeTruth(h, c.str("mesh"))
}

func (c *call) printGroups(groups []protocol.GroupInfo) {
	if len(groups) == 0 {
		c.note("no groups: claudemesh group join <group> makes one")
		return
	}
	var rows [][]string
	for _, g := range groups {
		var names []string
		for _, m := range g.Members {
			names = append(names, clean(m.Name)+selfMark(m.Self))
		}
		rows = append(rows, []string{"@" + clean(g.Group), g.Mesh, map[bool]string{true: "yes", false: "no"}[g.Self], nameList(names)})
	}
	c.table([]string{"GROUP", "MESH", "IN IT", "MEMBERS"}, rows)
}

// groupWords are groups as they are addressed: "@backend @ops".
func groupWords(groups []string) string { return clean(strings.Join(atGroups(groups), " ")) }
