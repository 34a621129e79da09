package recall

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/recall/redact"
	"github.com/claudemesh/claudemesh/recall/source"
)

// Bob wrote to alice about the heron. She finds it beside her own sessions, nobody else gets it, and when she deletes it from her inbox
// it goes from the memory.
func TestMailIsFoundAndToldToNobody(t *testing.T) {
	ctx := context.Background()
	a := newMachine(t)
	a.stripe()
	mail := []Mail{
		{ID: "m1", From: "bob/api", Mesh: "acme", Text: "the heron restores staging, password: Xy12zz99Qq", At: a.now},
		{ID: "m2", From: "cathy", Mesh: "acme", Text: "the walrus is offline", At: a.now},
		{ID: "old", From: "cathy", Mesh: "acme", Text: "the dodo", At: a.now.Add(-400 * 24 * time.Hour)},
	}
	var failing error
	a.opts.Mail = func(context.Context) ([]Mail, error) { return mail, failing }
	a.sweep()
	a.sweep()
	h := a.want("heron staging", redact.Mark)
	if h.Kind != source.Mail || !h.Secondhand || h.Prompt != "bob/api on acme" || strings.Contains(h.Text, "Xy12zz99Qq") {
		t.Errorf("%+v", h)
	}
	if a.own("heron staging") != 0 {
		t.Error("mail counts as alice's own")
	}
	a.wantNothing("dodo")
	if n := a.episodes(); n != 3 {
		t.Errorf("%d episodes", n)
	}
	if n, err := a.Forget(ctx, []int64{a.want("walrus", "walrus").ID}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	a.sweep()
	a.wantNothing("walrus")
	mail, failing = nil, errors.New("the store is closed")
	if err := a.Sweep(ctx); err == nil {
		t.Error("the error is lost")
	}
	a.want("heron", "heron")
	failing = nil
	a.sweep()
	a.wantNothing("heron")
	a.want("stripe signature", "raw")
}
