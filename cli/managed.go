package cli

import (
	"context"
	"errors"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/service"
)

// thisHost is this machine as package service sees it.
func thisHost() (service.Host, error) {
	dir, err := config.UserDir()
	return service.ThisHost(dir), err
}

// daemonService is the unit or agent of the home's daemon, installed or not.
func daemonService(home config.Home) (*service.Service, error) {
	host, err := thisHost()
	if err != nil {
		return nil, err
	}
	exe, err := service.Executable()
	if err != nil {
		return nil, err
	}
	return service.Daemon(host, exe, home.Dir()), nil
}

// managedBy names the service manager that runs the home's daemon, or returns "".
func managedBy(home config.Home) string {
	host, err := thisHost()
	if err != nil {
		return ""
	}
	return service.Managed(host, home.Dir())
}

// ensure returns a client of the home's daemon. Where nobody listens it starts one, or waits for the service manager that
// does; a service that does not come up is reported with the manager's own words.
func ensure(ctx context.Context, home config.Home, o client.EnsureOptions) (*client.Client, error) {
	o.Managed = func(context.Context) string { return managedBy(home) }
	cl, err := client.Ensure(ctx, home, o)
	if e, ok := errors.AsType[*protocol.Error](err); ok && e.Code == protocol.CodeServiceNotReady {
		explainService(ctx, home, e)
	}
	return cl, err
}

// explainService adds what the manager says of the service, and the next step for the state that it is in.
func explainService(ctx context.Context, home config.Home, e *protocol.Error) {
	svc, err := daemonService(home)
	if err != nil {
		return
	}
	st, err := svc.Status(ctx)
	switch {
	case err != nil:
		e.Message += "; " + svc.Manager() + " does not tell its state: " + err.Error()
	default:
		e.Message += "; the service is " + string(st.State)
		if st.Detail != "" {
			e.Message += ": " + st.Detail
		}
	}
	e.Hint = svc.StatusCommand() + " says more"
	switch st.State {
	case service.Stopped:
		e.Hint = "claudemesh daemon up starts it; " + e.Hint
	case service.Failed: // it would fail again
		e.Hint = svc.LogCommand() + " says more"
	}
}

// refusedService gives the refusals of package service their codes.
func refusedService(err error) error {
	r, refused := errors.AsType[*service.Refusal](err)
	switch {
	case refused && r.Final:
		return protocol.Refuse(protocol.CodeNotSupported, "%s", r.Reason).WithHint("%s", r.Hint)
	case refused:
		return protocol.Refuse(protocol.CodeForbidden, "%s", r.Reason).WithHint("%s", r.Hint)
	case errors.Is(err, service.ErrForeign):
		return protocol.Refuse(protocol.CodeExists, "%s", err).WithHint("it may be an original claudemesh's; take that out with its own uninstall first")
	}
	return err
}
