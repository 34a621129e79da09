package broker

import (
	"net/http"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// The broker's clock is set a month ahead for half an hour, while it runs or when it starts. What waits for bob, what alice
// was told, and dora's enrolment outlast that.
func TestNothingExpiresByAWrongClock(t *testing.T) {
	const month = 30 * 24 * time.Hour
	for name, wrong := range map[string]func(w *world){
		"running": func(w *world) {
			time.Sleep(2 * time.Hour) // the clock is trusted
			w.off.Store(int64(month))
		},
		"from the start": func(w *world) {
			w.off.Store(int64(month))
			w.restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, Limits{}, func(w *world) {
				dora := w.stranger("dora")
				invite, enrol := w.invite(dora, 7*24*time.Hour)
				if status, body := w.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: enrol.Text()}); status != http.StatusOK {
					t.Fatalf("%d %s", status, body)
				}
				alice := w.alice.connect()
				s := alice.Send(w.bob, "hi")
				wrong(w)
				time.Sleep(30 * time.Minute)
				w.off.Store(0)
				time.Sleep(2 * sweepEvery)
				w.bob.connect().Want("hi")
				alice = w.alice.connect()
				alice.WantReceipt(s, protocol.StateDelivered, true)
				dora.connect()
			})
		})
	}
}

// A session statement is published in its time only: one from the future would keep out those of today.
func TestPublishInTime(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		for name, off := range map[string]time.Duration{"ahead": 3 * time.Hour, "expired": -3 * 24 * time.Hour} {
			at := time.Now().Add(off)
			st := w.sign(&protocol.Session{Mesh: w.mesh, Member: w.alice.key.Public(), Session: w.alice.key.Public(), Label: "alice", Features: protocol.Capabilities(),
				Issued: at.UnixMilli(), Expires: at.Add(protocol.SessionLifetime).UnixMilli()}, w.alice.key, w.alice.key)
			got := alice.publish(st)
			code := map[string]protocol.Code{"ahead": protocol.CodeTimestamp, "expired": protocol.CodeExpired}[name]
			if len(got.Refused) != 1 || got.Refused[0].Code != code {
				t.Errorf("%s: %+v", name, got)
			}
		}
	})
}
