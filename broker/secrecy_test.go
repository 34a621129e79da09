package broker

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// TestTheBrokerNeverReads tells a story and then looks for its words and its secrets in all that the broker has written.
func TestTheBrokerNeverReads(t *testing.T) {
	const direct, group, waiting = "the launch is on tuesday", "friday is off for everybody", "kept until cathy is back"
	story(t, Limits{}, func(w *world) {
		alice, bob, web := w.alice.connect(), w.bob.connect(), w.bob.session("web")
		alice.Send(w.bob, direct)
		bob.Want(direct)
		s := alice.sealGroup("*", group, w.bob, w.cathy)
		alice.wantQueued(s)
		bob.Want(group)
		web.Send(w.cathy, waiting)
		alice.wantNotQueued(alice.seal(crypto.GenerateKey().Public(), protocol.PriorityNext, direct), protocol.CodeUnknownRecipient)
		alice.writeRaw([]byte(`{"type":"send","id":"` + direct + `"}`))
		secrets := map[string][]byte{
			"a direct message": []byte(direct), "a group message": []byte(group), "a waiting message": []byte(waiting),
		}
		for name, k := range map[string]*crypto.PrivateKey{
			"the owner's": w.owner, "alice's": w.alice.key, "bob's": w.bob.key, "the session's": w.bob.sessionKey("web"),
		} {
			seed := k.Seed()
			secrets[name+" seed"] = seed[:]
			secrets[name+" seed in hex"] = []byte(k.Hex()[:2*crypto.SeedSize])
		}
		w.wantNothingReadable(secrets, s.Ciphertext[:64]) // in the journal
		w.restart()
		w.wantNothingReadable(secrets, s.Ciphertext[:64]) // in the data base
		w.cathy.connect()
	})
}

// wantNothingReadable looks for the secrets in every file of the broker and in its log, and in the log for the ciphertext.
func (w *world) wantNothingReadable(secrets map[string][]byte, ciphertext string) {
	w.Helper()
	synctest.Wait()
	files := map[string][]byte{"the log": []byte(w.log.String())}
	err := filepath.WalkDir(w.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			w.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		files[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	if !bytes.Contains(files["the log"], []byte("unknown_recipient")) || len(files) < 3 {
		w.Fatalf("%d files, too few to look into", len(files))
	}
	for path, b := range files {
		for name, secret := range secrets {
			if bytes.Contains(b, secret) {
				w.Errorf("%s holds %s", path, name)
			}
		}
	}
	if bytes.Contains(files["the log"], []byte(ciphertext)) {
		w.Error("ciphertext is in the log")
	}
}
