package broker

import (
	"strconv"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// limitField is one limit under the name that operators write.
type limitField struct {
	name  string
	value any // *int, *int64, *float64 or *time.Duration
}

func (l *Limits) fields() []limitField {
	return []limitField{
		{"rate", &l.Rate}, {"burst", &l.Burst},
		{"queue-messages", &l.QueueMessages}, {"queue-bytes", &l.QueueBytes}, {"retention", &l.Retention},
		{"share-messages", &l.ShareMessages}, {"share-bytes", &l.ShareBytes}, {"link-messages", &l.LinkMessages}, {"link-bytes", &l.LinkBytes},
		{"invited-messages", &l.InvitedMessages}, {"invited-bytes", &l.InvitedBytes},
		{"conns-per-address", &l.ConnsPerAddress}, {"conns-per-mesh", &l.ConnsPerMesh},
		{"conns-per-member", &l.ConnsPerMember}, {"conns-per-link", &l.ConnsPerLink}, {"max-sessions", &l.MaxSessions},
		{"http-per-address", &l.HTTPPerAddress}, {"http-body", &l.HTTPBody}, {"streams-per-key", &l.StreamsPerKey},
		{"streams-per-member", &l.StreamsPerMember}, {"streams", &l.Streams},
		{"file-bytes", &l.FileBytes}, {"member-file-bytes", &l.MemberFileBytes}, {"member-files", &l.MemberFiles},
		{"mesh-file-bytes", &l.MeshFileBytes}, {"file-life", &l.FileLife}, {"upload-life", &l.UploadLife},
		{"join-wait", &l.JoinWait}, {"enrol-slack", &l.EnrolSlack},
		{"pre-hello", &l.PreHello}, {"hello-timeout", &l.HelloTimeout},
		{"ping-every", &l.PingEvery}, {"silence", &l.Silence}, {"write-timeout", &l.WriteTimeout},
		{"window", &l.Window}, {"window-bytes", &l.WindowBytes}, {"reply-bytes", &l.ReplyBytes}, {"list-bytes", &l.ListBytes},
		{"dedupe", &l.Dedupe}, {"lease", &l.Lease}, {"card-every", &l.CardEvery}, {"drain", &l.Drain},
	}
}

// Set sets limits from text: name=value, several separated by commas. Values are numbers above zero, or durations such as 10s
// and 168h.
func (l *Limits) Set(text string) error {
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			return protocol.Refuse(protocol.CodeInvalid, "a limit is written name=value, not %q", pair)
		}
		if err := l.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (l *Limits) set(name, value string) error {
	var names []string
	for _, f := range l.fields() {
		names = append(names, f.name)
		if f.name != name {
			continue
		}
		if !parseLimit(f.value, value) {
			return protocol.Refuse(protocol.CodeInvalid, "the limit %s is not %q: it takes %s above zero", name, value, kindOf(f.value))
		}
		return nil
	}
	return protocol.Refuse(protocol.CodeInvalid, "there is no limit %s", name).WithHint("the limits are %s", strings.Join(names, ", "))
}

func parseLimit(to any, text string) bool {
	switch to := to.(type) {
	case *int:
		n, err := strconv.Atoi(text)
		*to = n
		return err == nil && n > 0
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		*to = n
		return err == nil && n > 0
	case *float64:
		n, err := strconv.ParseFloat(text, 64)
		*to = n
		return err == nil && n > 0
	case *time.Duration:
		d, err := time.ParseDuration(text)
		*to = d
		return err == nil && d > 0
	}
	panic("broker: a limit of a kind that cannot be set")
}

func kindOf(v any) string {
	if _, ok := v.(*time.Duration); ok {
		return "a duration such as 10s"
	}
	return "a number"
}

// LimitValue is a limit as it is shown.
type LimitValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// List returns all limits with what is in force.
func (l Limits) List() []LimitValue {
	l = l.withDefaults()
	var all []LimitValue
	for _, f := range l.fields() {
		v := LimitValue{Name: f.name}
		switch n := f.value.(type) {
		case *int:
			v.Value = strconv.Itoa(*n)
		case *int64:
			v.Value = strconv.FormatInt(*n, 10)
		case *float64:
			v.Value = strconv.FormatFloat(*n, 'f', -1, 64)
		case *time.Duration:
			v.Value = n.String()
		}
		all = append(all, v)
	}
	return all
}
