package claude

import (
	"encoding/json"
	"fmt"
)

// Status is what doctor reports of the registration.
type Status struct {
	Server     string   // command that is registered; empty: none
	Hooks      []string // events that have a hook of ours
	Missing    []string // events that do not
	Skill      bool
	StatusLine bool
	Problems   []string // files that do not parse
}

// Inspect reads the files and changes nothing.
func Inspect(o Options) Status {
	var s Status
	us := &target{Command: o.Command}
	read := func(path string) *document {
		b, err := readFile(path)
		if err == nil {
			var d *document
			if d, err = parseDocument(b); err == nil {
				return d
			}
		}
		s.Problems = append(s.Problems, fmt.Sprintf("%s: %v", path, err))
		return &document{text: []byte("{}")}
	}
	var server struct{ Command string }
	read(o.Paths.State).get([]string{"mcpServers", ServerName}, &server)
	s.Server = server.Command
	settings := read(o.Paths.Settings)
	for _, event := range events {
		var list []json.RawMessage
		settings.get([]string{"hooks", event}, &list)
		found := false
		for _, item := range list {
			found = found || us.isOurs(item)
		}
		if found {
			s.Hooks = append(s.Hooks, event)
		} else {
			s.Missing = append(s.Missing, event)
		}
	}
	var line struct{ Command string }
	s.StatusLine = settings.get([]string{"statusLine"}, &line) && ownCommand(line.Command)
	b, err := readFile(o.Paths.Skill)
	s.Skill = err == nil && b != nil
	return s
}
