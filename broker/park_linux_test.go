package broker

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// wantConns waits until the broker has n connections, and nobody reads any of them where parked says so.
func (w *world) wantConns(n int, parked bool) {
	w.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		w.srv.mu.Lock()
		have, read := len(w.srv.conns), 0
		for c := range w.srv.conns {
			if !c.parked.Load() {
				read++
			}
		}
		w.srv.mu.Unlock()
		if have == n && (read == 0 || !parked) {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			w.Fatalf("%d connections, %d of them are read; want %d", have, read, n)
		}
	}
}

// Nobody reads a connection that has nothing to say, and it is all the same to who is at its ends: mail comes and goes, a request is
// answered, and who leaves is gone.
func TestParkedConnections(t *testing.T) {
	w := newWorld(t, Limits{})
	defer w.close()
	dial := w.overLoopback()
	alice, bob, cathy := dial(w.alice).enter(), dial(w.bob).enter(), dial(w.cathy).enter()
	w.wantConns(3, true)

	s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hello")
	alice.write(s)
	var p protocol.Push
	bob.wantFrame(protocol.TypePush, &p)
	bob.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: p.MessageID})
	alice.take(protocol.TypeReceipt, func([]byte) bool { return true })
	var list protocol.PeersList
	if err := cathy.ws.WriteControl(websocket.PingMessage, []byte("here?"), time.Now().Add(patience)); err != nil { // not a usual frame
		t.Fatal(err)
	}
	cathy.request(protocol.Tag{Type: protocol.TypeListPeers}, protocol.TypePeersList, &list)
	if len(list.Peers) != 3 {
		t.Errorf("%d peers, want 3", len(list.Peers))
	}

	bob.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	cathy.ws.NetConn().Close()
	w.wantConns(1, false)
}

// The broker ends while bob, who is too busy to answer the close, is parked: he hears it, and nobody waits for him for long.
func TestParkedEnd(t *testing.T) {
	w := newWorld(t, Limits{})
	bob := w.overLoopback()(w.bob)
	bob.ws.SetCloseHandler(func(int, string) error { return nil })
	bob.enter()
	w.wantConns(1, true)
	w.close()
	bob.wantClose(websocket.CloseGoingAway)
}

// With every pong a connection is parked, with every ping somebody waits for the pong: meanwhile nothing is lost.
func TestParkingStorm(t *testing.T) {
	w := newWorld(t, Limits{PingEvery: time.Millisecond, Rate: 1 << 20, Burst: 1 << 20})
	defer w.close()
	dial := w.overLoopback()
	alice, bob := dial(w.alice).enter(), dial(w.bob).enter()
	const n = 400
	var both sync.WaitGroup
	for _, from := range []*client{alice, bob} {
		to := map[*client]*person{alice: w.bob, bob: w.alice}[from]
		both.Go(func() {
			for i := range n {
				from.write(from.seal(to.key.Public(), protocol.PriorityNext, fmt.Sprint(i)))
				from.take(protocol.TypeAck, func([]byte) bool { return true }) // so that pings come between
			}
		})
	}
	for i := range n {
		for _, to := range []*client{alice, bob} {
			var p protocol.Push
			to.wantFrame(protocol.TypePush, &p)
			if text, _ := to.open(&p).Text(); text != fmt.Sprint(i) {
				t.Fatalf("%s has %q, want %d", to.name, text, i)
			}
			to.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: p.MessageID})
		}
	}
	both.Wait()
}

// Bob's machine vanishes while his connection is parked: the ping that it does not answer ends it.
func TestParkedSilence(t *testing.T) {
	w := newWorld(t, Limits{PingEvery: 50 * time.Millisecond, Silence: 1500 * time.Millisecond})
	defer w.close()
	dial := w.overLoopback()
	alice, bob := dial(w.alice).enter(), dial(w.bob)
	bob.ws.SetPingHandler(func(string) error { return nil })
	bob.enter()
	bob.wantClose(websocket.CloseGoingAway)
	bob.ws.NetConn().Close()
	w.wantConns(1, false)
	if st := w.srv.Status(); len(st.LastClosed) != 1 || st.LastClosed[0].Reason != endSilent {
		t.Errorf("closed: %+v", st.LastClosed)
	}
	alice.request(protocol.Tag{Type: protocol.TypeListPeers}, protocol.TypePeersList, new(protocol.PeersList))
}

// What comes in one packet with the hello is answered, though nothing more comes to read.
func TestRequestBehindTheHello(t *testing.T) {
	w := newWorld(t, Limits{})
	defer w.close()
	bob := w.overLoopback()(w.bob)
	go bob.read()
	hello := bob.helloFor(w.bob.key, "control")
	conn := bob.ws.NetConn()
	var packet []byte
	for _, v := range []any{hello, protocol.Tag{Type: protocol.TypeListPeers, ReqID: "1"}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		packet = append(packet, clientFrame(0x80|websocket.TextMessage, b)...)
	}
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	bob.take(protocol.TypePeersList, func([]byte) bool { return true })
}
