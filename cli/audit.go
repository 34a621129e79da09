package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func auditVerb() *verb {
	return &verb{
		name: "audit", heading: headPeople, usage: "what happened in a mesh, as its broker noted it; for admins",
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "verify", Usage: "check the chain, and that it goes on from what was seen the last time"},
			&urfave.IntFlag{Name: "limit", Usage: "show the last `N` entries", Value: 50},
			meshFlag(), jsonFlag(),
		},
		about: `Who came and went, was admitted or removed, and which keys there are: never who wrote to whom, nor what. Each entry has the hash of the one before
it. A broker can leave things out of its log from the beginning; it cannot change what --verify has seen. --json prints one object a line.`,
		examples: []string{"claudemesh audit --verify", "claudemesh audit --json --limit 1000"}, run: runAudit,
	}
}

func runAudit(ctx context.Context, c *call) error {
	limit, err := c.positive("limit")
	if err != nil {
		return err
	}
	cl, m, err := c.settledMesh(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	if c.yes("verify") {
		return c.verifyAudit(ctx, cl, m)
	}
	page, err := auditPage(ctx, cl, m.Mesh, protocol.AuditArgs{Limit: 1})
	if err != nil {
		return err
	}
	after := uint64(max(int64(page.Last)-int64(limit), 0))
	return auditAll(ctx, cl, m.Mesh, after, func(e protocol.AuditEntry) error {
		if c.json {
			c.printLine(e)
			return nil
		}
		c.say("%s", auditLine(e))
		return nil
	})
}

func auditLine(e protocol.AuditEntry) string {
	d := e.Detail
	words := []string{fmt.Sprintf("%5d", e.N), e.At, e.Event}
	for _, f := range [][2]string{
		{"by", shortID(e.Actor)}, {"kind", d.Kind}, {"name", d.Label}, {"role", d.Role}, {"key", shortID(d.Key)}, {"why", d.Reason},
	} {
		if f[1] != "" {
			words = append(words, f[0]+"="+clean(f[1]))
		}
	}
	return strings.Join(words, "  ")
}

func auditPage(ctx context.Context, cl *client.Client, mesh string, args protocol.AuditArgs) (page protocol.AuditPage, err error) {
	b, err := json.Marshal(args)
	if err != nil {
		return page, err
	}
	done, err := cl.Op(ctx, protocol.OpRequest{Mesh: mesh, Verb: protocol.OpAudit, Args: b})
	if err != nil {
		return page, err
	}
	if err := json.Unmarshal(done.Result, &page); err != nil {
		return page, fmt.Errorf("read the broker's audit log: %w", err)
	}
	return page, nil
}

// auditAll calls each for every entry after the number.
func auditAll(ctx context.Context, cl *client.Client, mesh string, after uint64, each func(protocol.AuditEntry) error) error {
	for {
		page, err := auditPage(ctx, cl, mesh, protocol.AuditArgs{After: after})
		if err != nil || len(page.Entries) == 0 {
			return err
		}
		for _, e := range page.Entries {
			if err := each(e); err != nil {
				return err
			}
		}
		next := page.Entries[len(page.Entries)-1].N
		if next <= after || next >= page.Last {
			return nil
		}
		after = next
	}
}

// auditHead is the newest entry that was verified: what a broker cannot take back.
type auditHead struct {
	N    uint64 `json:"n"`
	Hash string `json:"hash"`
}

// audited is what `audit --verify --json` prints.
type audited struct {
	OK      bool   `json:"ok"`
	Valid   bool   `json:"valid"`
	Mesh    string `json:"mesh"`
	Entries int    `json:"entries"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Hash    string `json:"hash"`
}

func (c *call) verifyAudit(ctx context.Context, cl *client.Client, m protocol.MeshInfo) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	file := filepath.Join(home.Dir(), "audit-"+m.MeshID+".json")
	head, err := readHead(file)
	if err != nil {
		return err
	}
	out := audited{OK: true, Valid: true, Mesh: m.Mesh}
	found := head.N == 0
	err = auditAll(ctx, cl, m.Mesh, 0, func(e protocol.AuditEntry) error {
		if out.Entries == 0 {
			out.First = e.N
			found = found || e.N > head.N && e.N != 1 // what was seen has been dropped for its age
		}
		if err := protocol.VerifyAudit([]protocol.AuditEntry{e}, out.Hash); err != nil {
			return badAudit(m.Mesh, err)
		}
		if out.Entries > 0 && e.N != out.Last+1 {
			return badAudit(m.Mesh, fmt.Errorf("entries %d to %d are missing", out.Last+1, e.N-1))
		}
		if e.N == head.N {
			if e.Hash != head.Hash {
				return badAudit(m.Mesh, fmt.Errorf("entry %d was another when it was seen the last time", e.N))
			}
			found = true
		}
		out.Entries, out.Last, out.Hash = out.Entries+1, e.N, e.Hash
		return nil
	})
	if err != nil {
		return err
	}
	if !found {
		return badAudit(m.Mesh, fmt.Errorf("entry %d, which was seen the last time, is not there", head.N))
	}
	if err := writeHead(file, auditHead{out.Last, out.Hash}); err != nil {
		return err
	}
	if c.json {
		c.printJSON(out)
		return nil
	}
	c.say("%s of %s hang together, from %d to %d; the last is %s", plural(out.Entries, "line"), m.Mesh, out.First, out.Last, out.Hash)
	return nil
}

func badAudit(mesh string, err error) error {
	return protocol.Refuse(protocol.CodeAlarm, "the audit log of %s was changed: %v", mesh, err)
}

func readHead(file string) (h auditHead, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil {
		return h, fmt.Errorf("read %s, where the entry is that was verified last: %w", file, err)
	}
	return h, nil
}

func writeHead(file string, h auditHead) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return config.WriteFile(file, append(b, '\n'))
}
