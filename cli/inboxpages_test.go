package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Bob's inbox comes page by page, and is printed as it comes: as one array, whole or visibly not.
func TestInboxIsPrintedAsItComes(t *testing.T) {
	const messages, onPage = 25, 4
	var broken atomic.Bool
	dir := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/inbox" {
			json.NewEncoder(w).Encode(protocol.Health{OK: true, Meshes: map[string]protocol.MeshHealth{"acme": {State: protocol.ConnOpen}}})
			return
		}
		before, _ := strconv.Atoi(r.FormValue("before"))
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		if before == 0 {
			before = messages + 1
		} else if broken.Load() && before < messages/2 {
			http.Error(w, `{"error":{"code":"internal","message":"the disk is gone"}}`, http.StatusInternalServerError)
			return
		}
		var page protocol.InboxPage
		for n := before - 1; n > 0 && len(page.Messages) < min(onPage, limit); n-- {
			page.Messages = append(page.Messages, protocol.InboxMessage{ID: fmt.Sprintf("%022d", n), Mesh: "acme", From: protocol.From{Name: "alice"}, Body: fmt.Sprint("text ", n)})
			page.Next = uint64(n)
		}
		if page.Next == 1 {
			page.Next = 0
		}
		json.NewEncoder(w).Encode(page)
	})
	env := []string{"CLAUDEMESH_CONFIG_DIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	for _, c := range []struct {
		limit string
		want  int
	}{{"1000", messages}, {"10", 10}, {"1", 1}} {
		out, code := command(t, env, "", "inbox", "--all", "--json", "--limit", c.limit)
		var got []protocol.InboxMessage
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || len(got) != c.want || got[0].Body != "text 25" {
			t.Errorf("--limit %s: exit %d, %d messages, %v in %s", c.limit, code, len(got), err, out)
		}
		if out, code = command(t, env, "", "inbox", "--all", "--limit", c.limit); code != 0 || strings.Count(out, "    text ") != c.want {
			t.Errorf("--limit %s without --json: exit %d in %s", c.limit, code, out)
		}
	}
	broken.Store(true)
	out, code := command(t, env, "", "inbox", "--all", "--json", "--limit", "1000")
	if code == 0 || !strings.Contains(out, "text 25") || strings.Contains(out, "\n]") {
		t.Errorf("a list that breaks off: exit %d in %s", code, out)
	}
}
