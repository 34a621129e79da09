package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store/storetest"
)

// scrape is what Prometheus would read.
func (w *world) scrape() string {
	rec := httptest.NewRecorder()
	w.srv.MetricsHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

// Every reason that a counter can name is there before it happens: an alert on its rate does not miss the first time.
func TestMetricsExistFromZero(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		text := w.scrape()
		for name, values := range map[string][]string{
			`closes_total{reason="%s"} 0`:     closeReasons,
			`refusals_total{reason="%s"} 0`:   refusalCodes(),
			`drops_total{reason="%s"} 0`:      dropReasons,
			`messages_total{priority="%s"} 0`: priorities[:],
			`receipts_total{state="%s"} 0`:    {"delivered", "shown", "read", "expired", "refused"},
			`connections{kind="%s"} 0`:        {kindHello, kindControl, kindSession},
			`%s 0`: {"repeats_total", "pushes_total", "acknowledged_total", "commits_total", "committed_total", "queue_messages", "queue_bytes",
				"queue_memory_bytes", "commit_seconds_count", "push_seconds_count", "flush_lag_seconds"},
		} {
			for _, v := range values {
				if line := "claudemesh_broker_" + fmt.Sprintf(name, v) + "\n"; !strings.Contains(text, line) {
					t.Errorf("no %s", line)
				}
			}
		}
	})
}

// The code refuses with no code that is not counted from zero, and names no end that is not.
func TestReasonsAreListed(t *testing.T) {
	values := constants(t, "../protocol/errors.go", `(Code\w+) +Code = "(\w+)"`)
	reasons := constants(t, "reasons.go", `\b((?:end|drop)[A-Z]\w*) += "(\w+)"`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	refuse := regexp.MustCompile(`Refuse\(protocol\.(Code\w+)`)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range refuse.FindAllStringSubmatch(string(b), -1) {
			if !strings.HasSuffix(file, "_test.go") && !slices.Contains(refusalCodes(), values[m[1]]) {
				t.Errorf("%s refuses with %s, which refusalCodes does not list", file, m[1])
			}
		}
	}
	for name, word := range reasons {
		if !slices.Contains(closeReasons, word) && strings.HasPrefix(name, "end") || !slices.Contains(dropReasons, word) && strings.HasPrefix(name, "drop") {
			t.Errorf("%s is not listed", name)
		}
	}
	if len(values) < 30 || len(reasons) < 15 {
		t.Fatalf("found %d codes and %d reasons: the test does not read its files any more", len(values), len(reasons))
	}
}

func constants(t *testing.T, file, pattern string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(b), -1) {
		found[m[1]] = m[2]
	}
	return found
}

// op is an operation that key signs on the connection of c.
func (c *client) op(key *crypto.PrivateKey, verb string, args any) {
	c.w.Helper()
	b, err := json.Marshal(args)
	if err != nil {
		c.w.Fatal(err)
	}
	st := c.w.sign(&protocol.Op{Mesh: c.w.mesh, By: key.Public(), Nonce: c.challenge(), Verb: verb, JSON: b}, key)
	c.write(protocol.OpFrame{Tag: protocol.Tag{Type: protocol.TypeOp}, Statement: st.Text()})
}

// Each way in which a connection ends says its reason, once, in the log, in the metrics and in the list of the last ends.
func TestEveryEndSaysItsReason(t *testing.T) {
	ends := map[string]func(w *world){
		endClient: func(w *world) { w.bob.connect().leave() },
		endLost:   func(w *world) { w.bob.connect().lose() },
		endSilent: func(w *world) {
			w.bob.connect().freeze()
			time.Sleep(protocol.SilenceLimit + 2*time.Second)
		},
		endSlow: func(w *world) {
			alice := w.alice.connect()
			w.bob.connect().freeze()
			for range 12 {
				alice.Send(w.bob, strings.Repeat("x", 32<<10))
			}
			time.Sleep(w.srv.limits.WriteTimeout + time.Second)
		},
		endTooLarge:     func(w *world) { w.bob.dial().writeRaw(make([]byte, protocol.MaxPreHello+1)) },
		endBadFrame:     func(w *world) { w.bob.connect().pipe.Write([]byte{0x83, 0x80, 0, 0, 0, 0}) }, // opcode 3 is none
		endHelloTimeout: func(w *world) { w.bob.dial(); time.Sleep(protocol.HelloTimeout + time.Second) },
		endHelloRefused: func(w *world) {
			c := w.stranger("mallory").dial()
			c.write(c.helloFor(c.key, "control"))
		},
		endReplaced: func(w *world) { w.bob.connect(); w.bob.connect() },
		endRevoked: func(w *world) {
			w.bob.connect()
			w.alice.connect().wantPublished(w.revoke(w.bob.key.Public()))
		},
		endKicked: func(w *world) {
			w.bob.connect()
			w.alice.connect().op(w.alice.key, protocol.OpKick, map[string]any{"key": w.bob.key.Public()})
		},
		endNotMember: func(w *world) {
			dora := w.stranger("dora")
			invite, enrol := w.invite(dora, time.Hour)
			w.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: enrol.Text()})
			dora.connect()
			time.Sleep(time.Hour + 2*sweepEvery)
		},
		endDeleted: func(w *world) {
			w.bob.connect()
			w.bob.connect().op(w.owner, protocol.OpDelete, map[string]any{})
		},
		endDraining: func(w *world) {
			w.bob.connect()
			w.srv.endAll(context.Background(), []*conn{w.onlyConn(w.bob)})
		},
		endStoreFailed: func(w *world) { // bob's window is full; what is behind it has moved to the data base, which goes
			alice, bob := w.alice.connect(), w.bob.connect()
			for i := range 3 {
				alice.Send(w.bob, fmt.Sprint(i))
			}
			p := bob.Get("0")
			time.Sleep(time.Minute)
			w.srv.queue.Flush()
			w.srv.db.Close()
			bob.Ack(p)
		},
	}
	for _, reason := range closeReasons {
		t.Run(reason, func(t *testing.T) {
			provoke, there := ends[reason]
			if !there {
				t.Fatal("nothing provokes this end")
			}
			synctest.Test(t, func(t *testing.T) {
				var limits Limits
				if reason == endStoreFailed {
					limits.Window = 1
				}
				w := newWorld(t, limits)
				provoke(w)
				synctest.Wait()
				time.Sleep(closeGrace + time.Second)
				synctest.Wait()
				lines := grep(grep(w.log.String(), `msg="connection ended"`), "reason="+reason+" ")
				if n := strings.Count(lines, "\n"); n < 1 || reason != endDeleted && n != 1 {
					t.Errorf("%d lines in the log:\n%s", n, lines)
				}
				if !strings.Contains(w.scrape(), fmt.Sprintf("claudemesh_broker_closes_total{reason=%q} %d\n", reason, strings.Count(lines, "\n"))) {
					t.Errorf("not counted: %s", grep(w.scrape(), "closes_total"))
				}
				if last := w.srv.Status().LastClosed; !slices.ContainsFunc(last, func(c ClosedStatus) bool { return c.Reason == reason }) {
					t.Errorf("not remembered: %+v", last)
				}
				w.srv.Close(context.Background())
				<-w.served
			})
		})
	}
}

func (w *world) onlyConn(p *person) *conn {
	m := w.srv.mesh(w.mesh)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.members[p.key.Public()].conns.get(p.key.Public())
}

// Ready turns red when a write does not reach the disk, for whatever reason, and green again where the reason can pass. What was
// refused meanwhile is said to be retryable and was not kept.
func TestNotReadyWithoutADisk(t *testing.T) {
	for name, test := range map[string]struct {
		breaks, mends func(d *storetest.Disk)
		code          protocol.Code
		status        int
	}{
		"writes fail": {
			breaks: func(d *storetest.Disk) { d.FailWrites(true) }, code: protocol.CodeStoreFailed, status: http.StatusServiceUnavailable,
		},
		"a sync fails": {
			breaks: func(d *storetest.Disk) { d.FailSyncs(1) }, code: protocol.CodeStoreFailed, status: http.StatusServiceUnavailable,
		},
		"full": {
			breaks: func(d *storetest.Disk) { d.SetCapacity(d.Used()) }, mends: func(d *storetest.Disk) { d.SetCapacity(-1) },
			code: protocol.CodeStoreFull, status: http.StatusInsufficientStorage,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Limits{})
				disk := storetest.NewDisk()
				w.close()
				w.cfg.disk = disk
				w.open()
				alice := w.alice.connect()
				before := alice.Send(w.bob, "before")
				if status, body := w.get("/health/ready"); status != http.StatusOK {
					t.Fatalf("ready: %d %s", status, body)
				}
				test.breaks(disk)
				time.Sleep(2 * time.Second)
				status, body := w.get("/health/ready")
				if status != test.status || !strings.Contains(body, string(test.code)) {
					t.Errorf("ready: %d %s", status, body)
				}
				s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "meanwhile")
				if ack := alice.wantNotQueued(s, test.code); !ack.Retryable || ack.RetryAfter == 0 {
					t.Errorf("ack %+v", ack)
				}
				if status, _ := w.get("/health"); status != http.StatusOK {
					t.Errorf("alive: %d", status)
				}
				alice.wantQueued(before) // a repeat needs no disk
				if test.mends == nil {
					w.srv.Close(context.Background())
					<-w.served
					return
				}
				test.mends(disk)
				time.Sleep(2 * time.Second)
				if status, body := w.get("/health/ready"); status != http.StatusOK {
					t.Errorf("ready again: %d %s", status, body)
				}
				alice.wantQueued(s)
				bob := w.bob.connect()
				bob.Want("before")
				bob.Want("meanwhile")
				w.close()
			})
		})
	}
}
