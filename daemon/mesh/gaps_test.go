package mesh

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/store"
)

// Only what the user was told of is listed, together for all streams of a member, and filled holes are gone.
func TestGaps(t *testing.T) {
	ambush(t, func(w *world) {
		bob, cathy := w.bob.m.self, w.cathy.m.self
		old, now := time.Now().Add(-time.Hour).Truncate(time.Millisecond), time.Now()
		rows := map[string]arrivals{
			"n": {Base: 1, High: 9, Member: bob, Holes: []hole{{First: 2, Last: 3, Since: now.UnixMilli(), Told: true}}},
			"l": {Base: 1, High: 9, Member: bob, Holes: []hole{{First: 4, Last: 4, Since: old.UnixMilli(), Told: true}, {First: 6, Last: 8, Since: now.UnixMilli()}}},
			"x": {Base: 1, High: 9, Member: cathy},
		}
		err := w.alice.db.Update(func(tx *store.Tx) error {
			for prio, a := range rows {
				if err := table.PutJSON(tx, table.Numbers, table.Key(w.alice.m.meshID, []byte("i"+prio)), &a); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		gaps, err := w.alice.m.Gaps()
		if err != nil || len(gaps) != 1 {
			t.Fatalf("gaps %+v, %v", gaps, err)
		}
		if g := gaps[0]; g.Mesh != "acme" || g.Name != "bob" || g.Pubkey != bob.String() || g.Missing != 3 || !g.Since.Equal(old) {
			t.Errorf("%+v", g)
		}
	})
}
