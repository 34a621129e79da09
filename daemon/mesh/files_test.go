package mesh

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// stage hands a file to the node.
func (n *node) stage(name string, content []byte) string {
	n.Helper()
	s, err := n.m.env.Files.Stage(name, bytes.NewReader(content))
	if err != nil {
		n.Fatal(err)
	}
	return s.ID
}

// refs are the files of a message in the inbox, as its header has them.
func (n *node) refs(id string) (all []spool.Received) {
	n.Helper()
	err := n.db.View(func(tx *store.Tx) error {
		seq, err := n.m.env.Mail.Lookup(tx, id)
		if err != nil {
			return err
		}
		row := n.m.env.Mail.Row(tx, binaryOf(seq))
		var msg protocol.Message
		if err := msg.UnmarshalBinary(row.Message); err != nil {
			return err
		}
		for _, f := range msg.Header().Files {
			all = append(all, spool.Received{Mesh: row.Mesh, Member: msg.Member(), FileRef: f})
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
	return all
}

func binaryOf(n uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[7-i] = byte(n >> (8 * i))
	}
	return b
}

func (n *node) fetch(r spool.Received) ([]byte, error) {
	c, err := n.m.FetchFile(context.Background(), &r, func(int64) {})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}

func (n *node) wantFile(r spool.Received, want []byte) {
	n.Helper()
	if got, err := n.fetch(r); err != nil || !bytes.Equal(got, want) {
		n.Errorf("%s fetches %d bytes of %s, want %d: %v", n.name, len(got), r.Name, len(want), err)
	}
}

func (n *node) spooled() int {
	n.Helper()
	entries, err := os.ReadDir(filepath.Join(n.dir, "files", "out"))
	if err != nil {
		n.Fatal(err)
	}
	return len(entries)
}

// Alice sends two files while she is offline, removes the originals, and is killed. Bob is away. The lines of both are cut every
// 3 MiB. He gets what she sent, and nothing is left of it on her machine.
func TestFileStory(t *testing.T) {
	story(t, func(w *world) {
		content := crypto.RandomBytes(10<<20 + 7)
		w.bob.stop()
		w.alice.unplug()
		synctest.Wait()
		id := w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: "see page 3", Files: []string{
			w.alice.stage("../report.pdf", content), w.alice.stage("empty", nil),
		}})
		behind := w.alice.send("bob", "and this")
		w.alice.wantState(id, protocol.StateAccepted, protocol.ProofSelf)
		w.alice.fuse = 3 << 20
		w.alice.kill()
		pass(20 * time.Second)
		w.alice.kill() // in the middle
		pass(2 * time.Minute)
		if w.alice.cuts.Load() < 3 {
			t.Errorf("the line was cut %d times", w.alice.cuts.Load())
		}
		res := w.alice.wantState(id, protocol.StateQueued, protocol.ProofBroker)
		if len(res.Files) != 2 || res.Files[0].Name != "report.pdf" || res.Files[0].Uploaded != int64(len(content)) {
			t.Errorf("files are %+v", res.Files)
		}
		w.alice.wantState(behind, protocol.StateQueued, protocol.ProofBroker)
		if n := w.alice.spooled(); n != 0 {
			t.Errorf("%d files are left in the spool", n)
		}
		w.bob.restart()
		w.bob.want("alice: see page 3", "alice: and this")
		msg := w.bob.messages(nil)[0]
		if len(msg.Files) != 2 || msg.Files[0].Name != "report.pdf" || msg.Files[0].Size != int64(len(content)) {
			t.Errorf("files are %+v", msg.Files)
		}
		w.bob.fuse = 3 << 20
		files := w.bob.refs(id)
		w.bob.wantFile(files[0], content)
		w.bob.wantFile(files[1], nil)
		if w.bob.cuts.Load() < 3 {
			t.Errorf("bob's line was cut %d times", w.bob.cuts.Load())
		}
		w.bob.unplug() // what he has needs no broker
		w.bob.wantFile(files[0], content)
		w.bob.plug()
		if _, err := w.cathy.fetch(files[0]); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("cathy, who knows the key, fetches: %v", err)
		}
	})
}

// What the key of a file is worth in other hands: mallory's header names alice's blob, and cathy gets nothing of it.
func TestFileOfAnotherSender(t *testing.T) {
	story(t, func(w *world) {
		id := w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Files: []string{w.alice.stage("a", []byte("secret"))}})
		pass(time.Second)
		stolen := w.bob.refs(id)[0]
		w.bob.wantFile(stolen, []byte("secret"))
		stolen.Member = w.cathy.m.self // as if cathy had sent it
		if _, err := w.bob.fetch(stolen); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("the file of another sender: %v", err)
		}
		wrong := w.bob.refs(id)[0]
		wrong.SHA256[0] ^= 1
		if _, err := w.bob.fetch(wrong); protocol.CodeOf(err) != protocol.CodeAlarm {
			t.Errorf("a content that the sender did not sign: %v", err)
		}
		w.bob.wantFile(w.bob.refs(id)[0], []byte("secret"))
	})
}

// A broker that swaps, cuts or lengthens a ciphertext is found out, and a later honest answer is taken.
func TestFileOfALyingBroker(t *testing.T) {
	story(t, func(w *world) {
		content := crypto.RandomBytes(200_000)
		id := w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Files: []string{w.alice.stage("a", content)}})
		pass(time.Second)
		dir := filepath.Join(w.brokerDir, "blobs")
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatal(entries, err)
		}
		path := filepath.Join(dir, entries[0].Name())
		good, _ := os.ReadFile(path)
		if bytes.Contains(good, content[:64]) || strings.Contains(path, "report") {
			t.Error("the broker reads it")
		}
		swapped := bytes.Clone(good)
		swapped[len(swapped)/2] ^= 1
		os.WriteFile(path, swapped, 0o600)
		if _, err := w.bob.fetch(w.bob.refs(id)[0]); protocol.CodeOf(err) != protocol.CodeAlarm {
			t.Errorf("a swapped file: %v", err)
		}
		os.WriteFile(path, good, 0o600)
		w.bob.wantFile(w.bob.refs(id)[0], content)
	})
}

// The broker has no room: alice hears it before anything is sent, and where she was offline the message dies of it. Both leave bob's
// other mail alone.
func TestFileBeyondTheQuota(t *testing.T) {
	story(t, func(w *world) {
		big := w.alice.stage("big", make([]byte, 2000))
		w.closeBroker()
		w.limits.FileBytes = 1000
		w.openBroker()
		pass(time.Minute)
		_, err := w.alice.m.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "x", Files: []string{big}}, nil)
		if protocol.CodeOf(err) != protocol.CodePayloadTooLarge {
			t.Errorf("sent: %v", err)
		}
		w.alice.unplug()
		pass(time.Second)
		id := w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: "x", Files: []string{big}})
		after := w.alice.send("bob", "after it")
		w.alice.plug()
		pass(time.Minute)
		res := w.alice.wantState(id, protocol.StateDead, protocol.ProofBroker)
		if !strings.Contains(res.Recipients[0].Reason, "payload_too_large") {
			t.Errorf("the reason is %q", res.Recipients[0].Reason)
		}
		w.alice.wantState(after, protocol.StateDelivered, protocol.ProofPeer)
		w.bob.want("alice: after it")
	})
}

// What is refused keeps no room at the broker: of two files the second is too much, and then the first alone goes.
func TestRefusedFilesKeepNoRoom(t *testing.T) {
	story(t, func(w *world) {
		w.closeBroker()
		w.limits.MemberFileBytes = 4000
		w.openBroker()
		pass(time.Minute)
		try := func() error {
			two := []string{w.alice.stage("a", make([]byte, 2000)), w.alice.stage("b", make([]byte, 2000))}
			_, err := w.alice.m.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "x", Files: two}, nil)
			return err
		}
		for range 3 {
			wantRefusal(t, try(), protocol.CodeQuota)
		}
		w.alice.unplug()
		pass(time.Second)
		two := []string{w.alice.stage("a", make([]byte, 2000)), w.alice.stage("b", make([]byte, 2000))}
		w.alice.wantState(w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: "y", Files: two}), protocol.StateAccepted, protocol.ProofSelf)
		w.alice.plug()
		pass(time.Minute)
		one := w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: "one", Files: []string{w.alice.stage("c", make([]byte, 2000))}})
		pass(time.Minute)
		w.alice.wantState(one, protocol.StateDelivered, protocol.ProofPeer)
		w.bob.want("alice: one")
	})
}

// Alice is offline for days. What the broker refuses then can be sent again for a day: its copy is kept so long.
func TestFileOfADeadMessageIsKeptForADay(t *testing.T) {
	story(t, func(w *world) {
		w.closeBroker()
		w.limits.FileBytes = 1000
		w.openBroker()
		pass(time.Minute)
		w.alice.unplug()
		pass(time.Second)
		id := w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: "x", Files: []string{w.alice.stage("big", make([]byte, 2000))}})
		pass(3 * 24 * time.Hour)
		w.alice.plug()
		pass(2 * time.Hour)
		w.alice.wantState(id, protocol.StateDead, protocol.ProofBroker)
		if n := w.alice.spooled(); n != 1 {
			t.Fatalf("%d files are kept, want 1", n)
		}
		w.closeBroker()
		w.limits.FileBytes = 4000
		w.openBroker()
		pass(time.Minute)
		if err := w.alice.m.Requeue(id); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		w.bob.want("alice: x")
		pass(26 * time.Hour)
		if n := w.alice.spooled(); n != 0 {
			t.Errorf("%d files are left", n)
		}
	})
}

// A file whose upload does not come to an end holds up what follows it in its priority, and nothing else.
func TestUrgentTextPassesAnUpload(t *testing.T) {
	o := &outbox{waiting: []*outItem{
		{id: "with a file", to: "bob", priority: protocol.PriorityNext, holds: true},
		{id: "behind it", to: "bob", priority: protocol.PriorityNext},
		{id: "urgent", to: "bob", priority: protocol.PriorityNow},
		{id: "for cathy", to: "cathy", priority: protocol.PriorityNext},
	}}
	u, everybody := new(uplink), func(crypto.PublicKey) bool { return true }
	for _, want := range []string{"urgent", "for cathy", ""} {
		id := ""
		if it, _ := o.next(u, everybody); it != nil {
			id = it.id
		}
		if id != want {
			t.Errorf("%q goes, want %q", id, want)
		}
	}
}

// A file goes with one message, and with a repeat of the same request; what nobody takes goes after an hour.
func TestFileIsTakenOnce(t *testing.T) {
	story(t, func(w *world) {
		file := w.alice.stage("a", []byte("a"))
		req := protocol.SendRequest{To: "bob", Body: "x", ClientID: protocol.NewClientID(), Files: []string{file}}
		for range 2 {
			if _, err := w.alice.m.Send(context.Background(), req, nil); err != nil {
				t.Fatal(err)
			}
		}
		other := req
		other.ClientID = protocol.NewClientID()
		if _, err := w.alice.m.Send(context.Background(), other, nil); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("a file was sent twice: %v", err)
		}
		other = req
		other.Files = nil
		if _, err := w.alice.m.Send(context.Background(), other, nil); protocol.CodeOf(err) != protocol.CodeExists {
			t.Errorf("the same client id without the file: %v", err)
		}
		w.alice.stage("forgotten", []byte("b"))
		pass(3 * time.Hour)
		if n := w.alice.spooled(); n != 0 {
			t.Errorf("%d files are left", n)
		}
		w.bob.want("alice: x")
	})
}
