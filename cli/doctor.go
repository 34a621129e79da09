package cli

import (
	"context"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

func doctorVerb() *verb {
	return &verb{
		name: "doctor", heading: headRun, usage: "look for what is wrong, with one next step for each finding",
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "fix", Usage: "do what the findings marked [fix] say, and nothing else"},
			jsonFlag(),
		},
		about: `It reads, asks the daemon if one runs, and looks at the way to each broker; it starts and changes nothing, unless with --fix. Exit code
4 when there is a problem; warnings are none.`,
		examples: []string{"claudemesh doctor", "claudemesh doctor --fix", "claudemesh doctor --json"},
		run:      runDoctor,
	}
}

// Levels of findings.
const (
	levelOK      = "ok"
	levelWarning = "warning"
	levelProblem = "problem"
)

// finding is one line of the report. Next is empty for what is ok.
type finding struct {
	Check   string `json:"check"`
	Level   string `json:"level"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
	Fixable bool   `json:"fixable,omitempty"`
	Fixed   bool   `json:"fixed,omitempty"`

	fix func(context.Context) error
}

// examination collects findings.
type examination struct {
	*call
	findings []finding
}

func (e *examination) ok(check, format string, args ...any) {
	e.findings = append(e.findings, finding{Check: check, Level: levelOK, Message: fmt.Sprintf(format, args...)})
}

// warn and problem return the finding so that a fix can be added.
func (e *examination) warn(check, next, format string, args ...any) *finding {
	return e.add(finding{Check: check, Level: levelWarning, Message: fmt.Sprintf(format, args...), Next: next})
}

func (e *examination) problem(check, next, format string, args ...any) *finding {
	return e.add(finding{Check: check, Level: levelProblem, Message: fmt.Sprintf(format, args...), Next: next})
}

// fails reports an error with the hint that it brings.
func (e *examination) fails(check, next string, err error) *finding {
	refusal := classify(err)
	if refusal.Hint != "" {
		next = refusal.Hint
	}
	return e.problem(check, next, "%s", refusal.Message)
}

func (e *examination) add(f finding) *finding {
	e.findings = append(e.findings, f)
	return &e.findings[len(e.findings)-1]
}

// by says how --fix mends what was found.
func (f *finding) by(fix func(context.Context) error) { f.Fixable, f.fix = true, fix }

// diagnosis is what `doctor --json` prints.
type diagnosis struct {
	OK       bool      `json:"ok"`
	Findings []finding `json:"findings"`
}

func runDoctor(ctx context.Context, c *call) error {
	e := &examination{call: c}
	e.examine(ctx)
	if c.yes("fix") {
		e.mend(ctx)
	}
	d := diagnosis{OK: true, Findings: e.findings}
	for _, f := range e.findings {
		d.OK = d.OK && (f.Level != levelProblem || f.Fixed)
	}
	if c.json {
		c.printJSON(d)
	} else {
		c.printFindings(e.findings)
	}
	if !d.OK {
		return saidError{protocol.Refuse(protocol.CodeUnavailable, "there are problems")}
	}
	return nil
}

func (e *examination) examine(ctx context.Context) {
	e.binary()
	home, ok := e.home()
	if !ok {
		return
	}
	cfg := e.config(home)
	e.keys(home)
	e.service(ctx, home)
	health, cl := e.daemon(ctx, home)
	if cl != nil {
		defer cl.Close()
	}
	e.brokers(cfg, health, e.network(ctx, home, cfg, cl))
	if cl != nil {
		e.sessions(ctx, cl)
		e.outbox(ctx, cl, health)
		e.gaps(ctx, cl)
	} else {
		e.socket(home)
		e.store(home)
	}
	e.claude()
}

// mend does what is fixable; what goes wrong becomes part of the finding.
func (e *examination) mend(ctx context.Context) {
	for i := range e.findings {
		f := &e.findings[i]
		if f.fix == nil {
			continue
		}
		if err := f.fix(ctx); err != nil {
			f.Message += "; mending it: " + err.Error()
			continue
		}
		f.Fixed = true
	}
}

func (c *call) printFindings(all []finding) {
	colours := map[string]string{levelOK: green, levelWarning: yellow, levelProblem: red}
	count := map[string]int{}
	for _, f := range all {
		mark := f.Level
		if f.Fixed {
			mark = "fixed"
		} else {
			count[f.Level]++
		}
		c.say("%s  %s: %s", c.paint(colours[f.Level], mark+strings.Repeat(" ", len(levelProblem)-len(mark))), f.Check, clean(f.Message))
		if f.Next != "" && !f.Fixed {
			next := clean(f.Next)
			if f.Fixable {
				next += " [fix]"
			}
			c.say("         next: %s", next)
		}
	}
	c.say("%s, %s", plural(count[levelProblem], "problem"), plural(count[levelWarning], "warning"))
}
