package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// sentLines says the state of a message in words, one line for each state that a recipient is in, the furthest first:
//
//	delivered to bob/api in 84 ms · 7HqX2a1b
//	queued for bob: offline, last seen 2 h ago, kept 7 days · 7HqX2a1b
//	accepted, not sent yet: nobody listens on 127.0.0.1:7900; it goes out by itself · 7HqX2a1b
func sentLines(res protocol.SendResult, began, now time.Time) []string {
	groups := make(map[string][]protocol.RecipientResult)
	for _, r := range res.Recipients {
		key := string(r.State)
		if r.State == protocol.StateQueued || r.State == protocol.StateDead {
			key += " " + r.Pubkey // each has his own reason
		}
		groups[key] = append(groups[key], r)
	}
	var lines []string
	for _, g := range inOrder(groups) {
		lines = append(lines, groupLine(g, &res, began, now)+" · "+shortID(res.ID))
	}
	if len(lines) == 0 {
		lines = append(lines, acceptedWords(res.Waits)+" · "+shortID(res.ID))
	}
	return lines
}

func inOrder(groups map[string][]protocol.RecipientResult) [][]protocol.RecipientResult {
	var out [][]protocol.RecipientResult
	for _, g := range groups {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b []protocol.RecipientResult) int {
		return cmp.Or(cmp.Compare(b[0].State.Rank(), a[0].State.Rank()), strings.Compare(a[0].Name, b[0].Name))
	})
	return out
}

func groupLine(g []protocol.RecipientResult, res *protocol.SendResult, began, now time.Time) string {
	var names []string
	last, brokerOnly := began, true
	for _, r := range g {
		names = append(names, who(r.Name, r.Session))
		brokerOnly = brokerOnly && r.Proof == protocol.ProofBroker
		if r.At.After(last) {
			last = r.At
		}
	}
	slices.Sort(names)
	switch r := g[0]; r.State {
	case protocol.StateAccepted:
		return acceptedWords(res.Waits)
	case protocol.StateQueued:
		return queuedWords(r, res.KeptDays, now)
	case protocol.StateDead:
		return fmt.Sprintf("dead for %s: %s", names[0], cmp.Or(clean(r.Reason), "given up"))
	default:
		words := fmt.Sprintf("%s to %s in %s", r.State, nameList(names), span(last.Sub(began)))
		if brokerOnly {
			words += ", by the broker's word"
		}
		return words
	}
}

// acceptedWords say why a message is still on this machine, and whether anybody has to do something about it.
func acceptedWords(waits *protocol.ErrorBody) string {
	switch {
	case waits == nil:
		return "accepted, on its way to the broker"
	case needsYou(waits):
		return "accepted, and kept here: " + clean(waits.Message)
	}
	return "accepted, not sent yet: " + clean(waits.Message) + "; it goes out by itself"
}

// needsYou tells whether no time alone gets a message out: a person has to act first.
func needsYou(waits *protocol.ErrorBody) bool {
	if waits == nil {
		return false
	}
	_, stays := refusals[waits.Code]
	return stays && waits.Code != protocol.CodeKicked // who was kicked comes back by himself
}

func queuedWords(r protocol.RecipientResult, kept int, now time.Time) string {
	where := "online, not yet taken"
	if !r.Online {
		where = "offline, " + seen(r.LastSeen, now)
	}
	words := fmt.Sprintf("queued for %s: %s", who(r.Name, r.Session), where)
	if kept > 0 {
		words += ", kept " + span(time.Duration(kept)*24*time.Hour)
	}
	return words
}

// answerLines say of whom that has a message, and has not seen it, nobody answers now, and why.
func answerLines(all []protocol.RecipientResult) (lines []string) {
	var nobody, ended, quiet []string
	for _, r := range all {
		switch name := who(r.Name, r.Session); {
		case r.State.Rank() >= protocol.StateShown.Rank():
		case r.Presence == protocol.PresenceNoSession:
			nobody = append(nobody, clean(r.Name))
		case r.SessionEnded:
			ended = append(ended, name)
		case r.Presence == protocol.PresenceSession && !r.CanAnswer:
			quiet = append(quiet, name)
		}
	}
	if len(nobody) > 0 {
		lines = append(lines, fmt.Sprintf("no session runs at %s: the message is kept, and nobody answers until one starts", nameList(nobody)))
	}
	if len(ended) > 0 {
		lines = append(lines, fmt.Sprintf("%s ended: another session of the member gets the message", nameList(ended)))
	}
	if len(quiet) > 0 {
		lines = append(lines, fmt.Sprintf("not to be disturbed: %s; the message waits", nameList(quiet)))
	}
	return lines
}

// nameList says few names in full and counts many.
func nameList(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:3], ", "), len(names)-3)
	}
	return listAnd(names)
}
