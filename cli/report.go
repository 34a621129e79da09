package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// report says what went wrong: one object on stdout under --json, otherwise, and where stdout takes nothing, a sentence and a hint
// on stderr.
func (a *app) report(l *line, err error) {
	if _, said := errors.AsType[saidError](err); said {
		return
	}
	if _, said := errors.AsType[exitStatus](err); said {
		return
	}
	e := classify(err)
	if l.has("json") && a.stdout.failed() == nil {
		a.printJSON(protocol.ErrorReply{Error: *errorBody(e)})
		if a.stdout.failed() == nil {
			return
		}
	}
	where := strings.Join(append([]string{"claudemesh"}, l.path...), " ")
	if len(l.path) > 0 {
		where = "claudemesh: " + strings.Join(l.path, " ")
	}
	fmt.Fprintf(a.stderr, "%s: %s\n", where, clean(e.Message))
	if h := hintOf(e); h != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", clean(h))
	}
}

// hintOf returns the error's hint, and the names that could have been meant.
func hintOf(e *protocol.Error) string {
	if len(e.Names) == 0 {
		return e.Hint
	}
	names := "there is " + nameList(e.Names)
	if e.Code == protocol.CodeAmbiguous {
		names = "it could be " + listOr(e.Names)
	}
	if e.Hint == "" {
		return names
	}
	return e.Hint + "; " + names
}

// saidError ends a verb with the code of the error in it, after its output already said everything.
type saidError struct{ error }

func (e saidError) Unwrap() error { return e.error }
