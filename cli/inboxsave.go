package cli

import (
	"context"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
)

func inboxSaveVerb() *verb {
	return &verb{
		name: "save", usage: "save the files of a message", args: "<id> [dir]", min: 1, max: 2,
		flags: []urfave.Flag{
			&urfave.IntFlag{Name: "only", Usage: "save only file `N` of the message, from 1 on"},
			jsonFlag(),
		},
		about: "The files go into the directory, the current one by default. Nothing is overwritten: where there is a file of that name, the new\n" +
			"one gets a number. Names are made safe, nothing is executable, and nothing is opened. A file is there when it has come whole and is\n" +
			"what its sender signed; until then it has no name. The broker keeps a file for 7 days.",
		examples: []string{"claudemesh inbox save 7HqX2a1b", "claudemesh inbox save 7HqX2a1b ~/Downloads"},
		run:      runInboxSave,
	}
}

// savedFile is one line of the answer under --json.
type savedFile struct {
	protocol.FileInfo
	Path string `json:"path"`
}

func runInboxSave(ctx context.Context, c *call) error {
	dir := "."
	if len(c.args) > 1 {
		dir = c.arg(1)
	}
	only := c.flags.Int("only")
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	m, err := cl.InboxMessage(ctx, c.arg(0))
	if err != nil {
		return err
	}
	if len(m.Files) == 0 {
		return protocol.Refuse(protocol.CodeNotFound, "message %s has no files", shortID(m.ID))
	}
	if only < 0 || only > len(m.Files) {
		return protocol.Refuse(protocol.CodeInvalid, "message %s has %s: --only takes a number from 1 to %d", shortID(m.ID), plural(len(m.Files), "file"), len(m.Files))
	}
	saved := []savedFile{}
	for i, info := range m.Files {
		if only != 0 && only != i+1 {
			continue
		}
		path, err := c.saveFile(ctx, cl, &m, i+1, dir)
		if err != nil {
			return err
		}
		saved = append(saved, savedFile{info, path})
		if !c.json {
			c.say("saved %s, %s", clean(path), sizeText(info.Size))
		}
	}
	if c.json {
		c.printJSON(saved)
	}
	return nil
}

// saveFile saves file n of a message.
func (c *call) saveFile(ctx context.Context, cl *client.Client, m *protocol.InboxMessage, n int, dir string) (string, error) {
	info := m.Files[n-1]
	bar := c.progress(fmt.Sprintf("fetching %s", info.Name))
	defer bar.end()
	content, err := cl.File(ctx, "", m.ID, n, info, func(got int64) { bar.show(min(got, info.Size), info.Size) })
	if err != nil {
		return "", err
	}
	defer content.Close()
	return files.Save(dir, info.Name, content)
}
