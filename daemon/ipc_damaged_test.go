package daemon

import (
	"context"
	"os"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Mail that is damaged is not handed to a session, and what lies behind it is.
func TestDamagedMailIsNotTaken(t *testing.T) {
	d := startDaemon(t, newHome(t))
	ctx := context.Background()
	info, err := d.Register(ctx, protocol.SessionRequest{ID: "s-1", PID: os.Getpid(), Cwd: "/src/api"})
	if err != nil {
		t.Fatal(err)
	}
	err = d.DB.Commit(func(tx *store.Tx) error {
		for _, v := range []string{"{damaged", `{"own":"x"}`} {
			n, err := tx.NextSequence(table.Waiting)
			if err != nil {
				return err
			}
			if err := tx.Put(table.Waiting, table.U64(n), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Take(ctx, protocol.TakeRequest{Session: info.ID, Rung: protocol.RungPull})
	if err != nil || len(got.Messages) != 0 {
		t.Errorf("took %+v, %v", got, err)
	}
	if _, err := d.Held(ctx, protocol.HeldRequest{Session: info.ID}); err != nil {
		t.Error(err)
	}
}
