package brokerhttp

import (
	"cmp"

	"github.com/claudemesh/claudemesh/protocol"
)

// Cause names what is in the way, for programs. Causes may be added, never renamed.
type Cause string

const (
	CauseURL           Cause = "bad_url"
	CauseName          Cause = "name_not_resolved"
	CauseResolver      Cause = "resolver_unreachable"
	CausePort          Cause = "port_closed"
	CauseRoute         Cause = "no_route"
	CauseSilent        Cause = "no_answer"
	CauseNotTLS        Cause = "not_tls"
	CauseTLS           Cause = "tls_failed"
	CauseExpired       Cause = "certificate_expired"
	CauseNotYetValid   Cause = "certificate_not_yet_valid"
	CauseWrongName     Cause = "certificate_wrong_name"
	CauseAuthority     Cause = "certificate_unknown_authority"
	CauseRoots         Cause = "authorities_unreadable"
	CauseProxySetting  Cause = "proxy_setting"    // the environment names no usable proxy
	CauseProxyLogin    Cause = "proxy_login"      // the proxy wants another name and password
	CauseProxy         Cause = "proxy_in_between" // a proxy answers instead of the broker
	CauseNotBroker     Cause = "not_a_broker"     // something else answers
	CausePath          Cause = "wrong_path"       // the broker answers, under another path
	CauseNoUpgrade     Cause = "upgrade_dropped"  // the broker answers, and a proxy drops the Upgrade header
	CauseUpgrade       Cause = "upgrade_refused"  // HTTP answers, and no WebSocket opens
	CauseRefused       Cause = "refused"          // the broker's own word
	CauseUnhealthy     Cause = "broker_unhealthy" // the broker cannot work
	CauseOldBroker     Cause = "broker_too_old"
	CauseClock         Cause = "clock_off"
	CauseConnectionEnd Cause = "connection_ended"
)

// Fault is what is in the way to a broker. Sentence is in lower case, without a period.
type Fault struct {
	Cause          Cause
	Sentence, Next string
	Unsent         bool  // the broker surely heard nothing of what was to be sent
	Err            error // what the system said; may be nil

	refusal *protocol.Error // the broker's own
}

func (f *Fault) Error() string { return f.Sentence }
func (f *Fault) Unwrap() error { return f.Err }

// As makes a Fault count as the *protocol.Error that people see.
func (f *Fault) As(target any) bool {
	e, ok := target.(**protocol.Error)
	if ok {
		*e = f.refused()
	}
	return ok
}

// refused is the fault as it crosses to a person. The broker's own refusals keep their code.
func (f *Fault) refused() *protocol.Error {
	if f.refusal != nil {
		e := *f.refusal
		e.Hint = cmp.Or(e.Hint, f.Next)
		return &e
	}
	code := protocol.CodeUnavailable
	switch f.Cause {
	case CauseSilent:
		code = protocol.CodeTimeout
	case CauseURL:
		code = protocol.CodeInvalid
	}
	return protocol.Refuse(code, "%s", f.Sentence).WithHint("%s", f.Next).RetryAfter(0)
}
