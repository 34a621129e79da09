package broker

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/pipetest"
	"github.com/claudemesh/claudemesh/protocol"
)

// Bob's machine is suspended while alice writes to him and to cathy. Cathy notices nothing, bob's connection is closed by the
// write deadline, and what was for him waits.
func TestFrozenPeerCostsOnlyHimself(t *testing.T) {
	story(t, Limits{Burst: 1 << 20, Window: 1 << 12, WindowBytes: 8 << 20}, func(w *world) {
		alice, bob, cathy := w.alice.connect(), w.bob.connect(), w.cathy.connect()
		bob.freeze()
		const n = 400
		text := strings.Repeat("x", 2000) // more than a pipe holds
		start := time.Now()
		for i := range n {
			alice.Send(w.bob, text)
			alice.Send(w.cathy, fmt.Sprint(i))
			cathy.Want(fmt.Sprint(i))
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("cathy waited %s", d)
		}
		time.Sleep(w.srv.limits.WriteTimeout + time.Second)
		synctest.Wait()
		if w.srv.mesh(w.mesh).isConnected(bob.key.Public()) {
			t.Fatal("bob is still connected")
		}
		if st := w.srv.Status(); len(st.LastClosed) != 1 || st.LastClosed[0].Reason != endSlow {
			t.Errorf("closed: %+v", st.LastClosed)
		}
		bob.lose()
		back := w.bob.connect()
		for range n {
			back.Want(text)
		}
	})
}

// A thousand sockets that never say anything are closed after the hello timeout, and meanwhile people work.
func TestHalfOpenFlood(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		const n = 300
		for range n {
			w.stranger("nobody").dial()
		}
		synctest.Wait()
		if st := w.srv.Status(); st.Hellos != n {
			t.Errorf("%d connections before hello, want %d", st.Hellos, n)
		}
		alice.Send(w.bob, "still here")
		bob.Want("still here")
		time.Sleep(protocol.HelloTimeout + time.Second)
		synctest.Wait()
		if st := w.srv.Status(); st.Hellos != 0 || len(st.LastClosed) != keepClosed {
			t.Errorf("%d connections before hello, %d ends remembered", st.Hellos, len(st.LastClosed))
		}
		alice.Send(w.bob, "afterwards")
		bob.Want("afterwards")
	})
}

// A TLS handshake that never ends is closed like a request that never ends.
func TestHalfOpenTLS(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		l, served := pipetest.New(), make(chan error, 1)
		go func() {
			served <- w.srv.Serve(tls.NewListener(l, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return nil, errors.New("nobody gets so far")
			}}))
		}()
		for _, said := range [][]byte{nil, {0x16, 3, 1, 2, 0, 1}} { // the beginning of a ClientHello
			pipe, err := l.Dial("10.0.0.7:1")
			if err != nil {
				t.Fatal(err)
			}
			pipe.Write(said)
			start := time.Now()
			if _, err := pipe.Read(make([]byte, 1)); err == nil {
				t.Error("an answer to half a handshake")
			}
			if d := time.Since(start); d > protocol.HelloTimeout+time.Second {
				t.Errorf("closed after %s", d)
			}
		}
		l.Close()
		<-served
	})
}

// Sockets that say nothing at all, beyond what one address may have: they are closed at once, the others when their time is over.
// Others are not concerned, nor is a proxy that speaks for many.
func TestSilentSocketFlood(t *testing.T) {
	story(t, Limits{ConnsPerAddress: 20}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		open := func(from string) (n int) {
			var pipes []*pipetest.Conn
			for range 50 {
				pipe, err := w.listener.Dial(from)
				if err != nil {
					t.Fatal(err)
				}
				pipes = append(pipes, pipe)
			}
			synctest.Wait()
			for _, p := range pipes {
				if !p.Closed() {
					n++
				}
			}
			return n
		}
		if n := open("10.0.0.7:1"); n != 20 {
			t.Errorf("%d silent sockets of one address are open", n)
		}
		if n := open("127.0.0.1:1"); n != 50 {
			t.Errorf("%d silent sockets of a proxy here are open", n)
		}
		if got := w.srv.metrics.refused()[string(protocol.CodeCapacity)]; got != 30 {
			t.Errorf("%d refusals counted", got)
		}
		alice.Send(w.bob, "still here")
		bob.Want("still here")
		time.Sleep(protocol.HelloTimeout + time.Second)
		synctest.Wait()
		w.srv.mu.Lock()
		left := len(w.srv.sockets)
		w.srv.mu.Unlock()
		if left != 0 {
			t.Errorf("sockets of %d addresses are counted at the end", left)
		}
		if n := open("10.0.0.7:1"); n != 20 {
			t.Errorf("%d silent sockets are open the second time", n)
		}
	})
}

// Nonsense before hello: each frame is refused, and after a few the connection is over.
func TestMalformedFloodBeforeHello(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		for range 20 {
			c := w.stranger("mallory").dial()
			for range maxEarly + 1 {
				c.writeRaw([]byte(`{"type":`))
			}
			c.wantClose(websocket.ClosePolicyViolation)
		}
		refused := w.srv.metrics.refused()
		if refused[string(protocol.CodeBadFrame)] != 20*maxEarly || refused[string(protocol.CodeNoHello)] != 20 {
			t.Errorf("refused %v", refused)
		}
	})
}

// A raw socket that sends half of its headers is closed too.
func TestHalfOpenHeaders(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		pipe, err := w.listener.Dial("10.0.0.7:1")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(pipe, "GET /ws HTTP/1.1\r\nHost: %s\r\nX-Slow: ", testHost)
		start := time.Now()
		if _, err := pipe.Read(make([]byte, 1)); err == nil {
			t.Error("an answer to half a request")
		}
		if d := time.Since(start); d > protocol.HelloTimeout+time.Second {
			t.Errorf("closed after %s", d)
		}
	})
}

// Hellos that are refused end their connection at once: each try costs its sender a handshake.
func TestHelloFlood(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		for range 50 {
			mallory := w.stranger("mallory")
			c := mallory.dial()
			c.write(c.helloFor(mallory.key, "control"))
			c.wantClose(websocket.ClosePolicyViolation)
		}
		if got := w.srv.metrics.refused()[string(protocol.CodeNotMember)]; got != 50 {
			t.Errorf("%d refusals counted", got)
		}
		w.alice.connect().Send(w.bob, "still here")
	})
}

// A member who publishes without end runs out of tokens; the log does not grow beyond its limits.
func TestStatementFlood(t *testing.T) {
	story(t, Limits{Burst: 20, Rate: 1}, func(w *world) {
		bob := w.bob.connect()
		refused := 0
		for range 100 {
			forged := w.sign(&protocol.Cert{
				Mesh: w.mesh, Issuer: w.bob.key.Public(), Member: crypto.GenerateKey().Public(), Name: "eve", Role: protocol.RoleMember, Issued: time.Now().Unix(),
			}, w.bob.key) // bob is no admin
			bob.reqs++
			id := fmt.Sprint("flood", bob.reqs)
			bob.write(protocol.Publish{Tag: protocol.Tag{Type: protocol.TypePublish, ReqID: id}, Statements: []string{forged.Text()}})
		}
		synctest.Wait()
		bob.mu.Lock()
		for _, f := range bob.frames {
			var e protocol.ErrorFrame
			if json.Unmarshal(f.raw, &e); e.Code == protocol.CodeRateLimit {
				refused++
			}
		}
		bob.mu.Unlock()
		if refused < 75 {
			t.Errorf("%d of 100 were refused for their rate", refused)
		}
		if n := w.srv.mesh(w.mesh).status().Statements; n != 4 {
			t.Errorf("%d statements, want the 4 that were there", n)
		}
		w.alice.connect().Send(w.bob, "others are not concerned")
	})
}

// Frames that are no frames: each gets its refusal, none hurts, the connection goes on.
func TestMalformedFrameFlood(t *testing.T) {
	story(t, Limits{Burst: 1 << 20}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		random := rand.New(rand.NewPCG(1, 2))
		good, err := json.Marshal(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			bad := append([]byte(nil), good...)
			switch i % 4 {
			case 0:
				bad = bad[:random.IntN(len(bad))]
			case 1:
				bad[random.IntN(len(bad)-1)] ^= byte(1 + random.IntN(127))
			case 2:
				bad = []byte(strings.Repeat("[", random.IntN(500)))
			case 3:
				bad = append(bad, bad[:random.IntN(len(bad))]...)
			}
			bob.writeRaw(bad)
		}
		synctest.Wait()
		text := fmt.Sprint("still ", 1)
		alice.Send(w.bob, text)
		for {
			var p protocol.Push
			bob.wantFrame(protocol.TypePush, &p)
			if p.SenderPubkey == alice.key.Public().String() {
				break
			}
		}
		if w.srv.metrics.refused()[string(protocol.CodeInternal)] != 0 {
			t.Error("internal errors")
		}
	})
}

// Two machines hold the same key: the second is told so and the first goes on; when the first is gone the second may come.
func TestTwoMachinesWithOneKey(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		twin := *w.bob
		twin.instance = [8]byte(crypto.RandomBytes(8))
		for range 20 { // however often it tries
			c := twin.dial()
			c.write(c.helloFor(twin.key, "control"))
			c.wantClose(websocket.ClosePolicyViolation)
		}
		if got := w.srv.metrics.refused()[string(protocol.CodeCloned)]; got != 20 {
			t.Errorf("%d refused as cloned", got)
		}
		w.alice.connect().Send(w.bob, "to the first")
		bob.Want("to the first")
		again := w.bob.connect() // the same machine: the newest connection wins
		bob.wantClose(websocket.CloseNormalClosure)
		again.leave()
		twin.connect()
	})
}

// A status names what is there, and a draining broker says that it is.
func TestStatus(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		w.alice.session("api")
		alice.Send(w.bob, "hi")
		alice.wantNotQueued(alice.seal(crypto.GenerateKey().Public(), protocol.PriorityNext, "nobody"), protocol.CodeUnknownRecipient)
		st := w.srv.Status()
		if len(st.Meshes) != 1 || st.Draining || st.Queue.Messages != 1 || st.Refusals["unknown_recipient"] != 1 {
			t.Fatalf("%+v", st)
		}
		if m := st.Meshes[0]; m.Slug != "acme" || m.Members != 3 || m.Controls != 1 || m.Sessions != 1 || m.Queued != 1 || m.QueuedSize == 0 {
			t.Errorf("%+v", m)
		}
	})
}

// A backup is a broker: it starts on it and has what waited.
func TestBackupAndCompact(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		for i := range 20 {
			alice.Send(w.bob, fmt.Sprint(i))
		}
		if err := w.srv.compact(); err != nil {
			t.Fatal(err)
		}
		alice.Send(w.bob, "20") // goes on working
		alice.leave()
		w.backup()
		w.restart()
		bob := w.bob.connect()
		for i := range 21 {
			bob.Want(fmt.Sprint(i))
		}
	})
}

// backup replaces the broker by one on a backup of it, without journal.
func (w *world) backup() {
	w.Helper()
	rec := w.admin("POST", "/v1/backup")
	dir := w.TempDir()
	w.write(dir+"/broker.db", rec)
	w.write(dir+"/admin-token", []byte(w.srv.AdminToken()))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.srv.Close(ctx); err != nil {
		w.Error(err)
	}
	<-w.served
	w.cfg.Dir = dir
	w.open()
}

// admin asks the operator's handler.
func (w *world) admin(method, path string) []byte {
	w.Helper()
	rec := httptest.NewRecorder()
	w.srv.AdminHandler().ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	if rec.Code != http.StatusOK {
		w.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return rec.Body.Bytes()
}

func (w *world) write(path string, b []byte) {
	w.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.Fatal(err)
	}
}
