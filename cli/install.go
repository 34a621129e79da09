package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/service"
)

// addTimeout bounds `claude mcp add`, which starts a large program.
const addTimeout = 30 * time.Second

func installVerb() *verb {
	return &verb{
		name: "install", heading: headClaude, usage: "put claudemesh into Claude Code: every session is on the mesh from then on",
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "yes", Usage: "do not ask"},
			&urfave.BoolFlag{Name: "print", Usage: "only print the command that registers the tools"},
			&urfave.BoolFlag{Name: "no-hooks", Usage: "without hooks and status line: no status, and mail by fewer ways"},
			&urfave.BoolFlag{Name: "no-skill", Usage: "without the skill that tells Claude how to behave on a mesh"},
			&urfave.BoolFlag{Name: "no-service", Usage: "without a service that starts the daemon at login"},
			&urfave.BoolFlag{Name: "require-broker", Usage: "fail when a mesh is not connected within 15 s"},
			jsonFlag(),
		},
		about: "It shows every change before it makes it, keeps the files as they were, and changes nothing that is not its own. Again is fine: what is there\n" +
			"already stays. When a step fails, all is as before. claudemesh uninstall is the exact inverse, whatever was changed in between; until then\n" +
			"copies of the files as they were lie in ~/.claude/.claudemesh.",
		examples: []string{"claudemesh install", "claudemesh install --yes --no-service", "claudemesh install --print"},
		run:      runInstall,
	}
}

func uninstallVerb() *verb {
	return &verb{
		name: "uninstall", heading: headClaude, usage: "take it out again: the files are as they were",
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "yes", Usage: "do not ask"},
			&urfave.BoolFlag{Name: "no-service", Usage: "leave the service that starts the daemon"},
			jsonFlag(),
		},
		about:    "Meshes, keys and messages stay; claudemesh leave gives up a mesh.",
		examples: []string{"claudemesh uninstall", "claudemesh uninstall --yes"},
		run:      runUninstall,
	}
}

// installed is what install and uninstall print under --json.
type installed struct {
	OK      bool            `json:"ok"`
	Changes []installChange `json:"changes"`
	Notes   []string        `json:"notes"`
	Service string          `json:"service,omitempty"` // what became of the service
	Meshes  []meshReach     `json:"meshes,omitempty"`  // whether the daemon reaches their brokers
}

type installChange struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

// installOptions say what this machine is to have.
func (c *call) installOptions() (claude.Options, config.Home, error) {
	home, err := config.DefaultHome()
	if err != nil {
		return claude.Options{}, home, err
	}
	dir, err := config.UserDir()
	if err != nil {
		return claude.Options{}, home, err
	}
	command, err := ownCommand()
	return claude.Options{
		Paths: claude.FindPaths(dir, os.Getenv("CLAUDE_CONFIG_DIR")), Command: command,
	}, home, err
}

// ownCommand is how others start us: by name where the PATH leads here, else by the path that lasts.
func ownCommand() (string, error) {
	exe, err := service.Executable()
	if err != nil {
		return "", err
	}
	if found, err := exec.LookPath("claudemesh"); err == nil {
		a, errA := os.Stat(found)
		b, errB := os.Stat(exe)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return "claudemesh", nil
		}
	}
	return exe, nil
}

func runInstall(ctx context.Context, c *call) error {
	o, home, err := c.installOptions()
	if err != nil {
		return err
	}
	if c.yes("print") {
		c.say("%s", o.AddCommand())
		return nil
	}
	o.Hooks = !c.yes("no-hooks")
	if !c.yes("no-skill") {
		o.Skill = c.skillText(claude.ToolPrefix)
	}
	if path, err := exec.LookPath("claude"); err == nil {
		o.Add = addByClaude(path)
	}
	plan, err := claude.PlanInstall(o)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "%v", err).WithHint("mend or move the file; nothing was changed")
	}
	out := describePlan(plan)
	if err := c.applyPlan(ctx, plan, "installed already: nothing to change"); err != nil {
		return err
	}
	out.Service, err = c.installService(ctx, home)
	if err != nil {
		return c.installReverted(plan, err)
	}
	if !c.yes("no-service") || c.yes("require-broker") {
		if out.Meshes, err = c.proveBrokers(ctx, home); err != nil {
			return err
		}
	}
	if c.json {
		c.printJSON(out)
		return c.requireBrokers(out.Meshes)
	}
	if !plan.Empty() {
		c.say("installed. Sessions that start from now on are on the mesh; /mcp in Claude Code shows claudemesh")
	}
	return c.requireBrokers(out.Meshes)
}

// installReverted takes back what was installed before the service, which could not be.
func (c *call) installReverted(plan *claude.Plan, err error) error {
	if back := plan.Revert(); back != nil {
		return fmt.Errorf("%w; taking back the changes of Claude Code's files: %w", err, back)
	}
	e := classify(err)
	e.Message += "; nothing was changed"
	if e.Hint != "" {
		e.Hint += "; "
	}
	e.Hint += "claudemesh install --no-service does without"
	return e
}

// proveBrokers says of every mesh whether its broker is reached, and what is in the way if not.
func (c *call) proveBrokers(ctx context.Context, home config.Home) ([]meshReach, error) {
	cl, err := ensure(ctx, home, client.EnsureOptions{})
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return c.reachBrokers(ctx, cl)
}

func runUninstall(ctx context.Context, c *call) error {
	o, home, err := c.installOptions()
	if err != nil {
		return err
	}
	plan, err := claude.PlanUninstall(o)
	if err != nil {
		return err
	}
	out := describePlan(plan)
	if err := c.applyPlan(ctx, plan, "not installed: nothing to change"); err != nil {
		return err
	}
	out.Service, err = c.removeService(ctx, home)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(out)
		return nil
	}
	if !plan.Empty() {
		c.say("uninstalled. Sessions that run now keep their tools until they end")
	}
	return nil
}

func describePlan(plan *claude.Plan) installed {
	out := installed{OK: true, Changes: []installChange{}, Notes: list(plan.Notes)}
	for _, change := range plan.Changes {
		out.Changes = append(out.Changes, installChange{change.Path, change.Diff()})
	}
	return out
}

// applyPlan shows the changes, asks, and makes them.
func (c *call) applyPlan(ctx context.Context, plan *claude.Plan, nothing string) error {
	if !c.json {
		for _, change := range plan.Changes {
			c.say("%s", change.Diff())
		}
	}
	for _, note := range plan.Notes {
		c.note("note: %s", note)
	}
	if plan.Empty() {
		if !c.json {
			c.say("%s", nothing)
		}
		return plan.Apply(ctx)
	}
	if err := c.confirm("make these changes?"); err != nil {
		return err
	}
	return plan.Apply(ctx)
}

// addByClaude registers the server through Claude Code's own command line.
func addByClaude(path string) func(context.Context, string) error {
	return func(ctx context.Context, command string) error {
		ctx, cancel := context.WithTimeout(ctx, addTimeout)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "mcp", "add", "--scope", "user", claude.ServerName, "--", command, "mcp").CombinedOutput()
		if err != nil {
			return fmt.Errorf("claude mcp add: %w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	}
}

// installService has the service manager start the daemon, where there is one that can. Where there is none it is started in the background.
func (c *call) installService(ctx context.Context, home config.Home) (string, error) {
	if c.yes("no-service") {
		return "", nil
	}
	svc, err := daemonService(home)
	if err != nil {
		return "", err
	}
	why := ""
	switch current, err := svc.Current(); {
	case svc.Other():
		why = "a service runs the daemon of another directory"
	case err == nil && current:
		return "installed", startService(ctx, home)
	case errors.Is(err, service.ErrForeign):
		why = err.Error()
	default:
		if r := svc.Obstacle(ctx, false); r != nil {
			why = r.Reason
		}
	}
	if why == "" {
		if _, err := c.placeDaemonService(ctx, home, svc); err != nil {
			return "", err
		}
		c.note("service installed: %s starts the daemon at every login (%s)", svc.Manager(), svc.Path())
		return "installed", nil
	}
	if _, err := ensure(ctx, home, client.EnsureOptions{}); err != nil {
		return "", err
	}
	c.note("no service: %s; sessions start the daemon when they need it", why)
	return cmp.Or(why, "none"), nil
}

func (c *call) removeService(ctx context.Context, home config.Home) (string, error) {
	if c.yes("no-service") {
		return "", nil
	}
	svc, err := daemonService(home)
	if err != nil || svc.Other() {
		return "", err
	}
	if st, err := svc.Status(ctx); err != nil || st.State == service.NotInstalled {
		return "none", nil
	}
	kept, err := svc.Uninstall(ctx)
	if kept != "" {
		c.note("the file was changed by hand; a copy is at %s", kept)
	}
	if err != nil {
		return "", refusedService(err)
	}
	c.note("service stopped and removed (%s)", svc.Path())
	return "removed", nil
}
