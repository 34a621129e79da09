package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Bob's many sessions do not push cathy's out of sight, and scripts get all of them.
func TestPeersListsFewSessionsOfAPerson(t *testing.T) {
	var peers []protocol.PeerInfo
	for i := range sessionsShown + 80 {
		peers = append(peers, protocol.PeerInfo{Mesh: "acme", Name: "bob", Session: fmt.Sprint("s", i), MemberPubkey: "b0b", Pubkey: fmt.Sprintf("%064x", i), Trust: "verified"})
	}
	peers = append(peers, protocol.PeerInfo{Mesh: "acme", Name: "cathy", Session: "web", MemberPubkey: "ca", Pubkey: fmt.Sprintf("%064x", 1<<20), Trust: "verified"})
	dir := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/peers":
			json.NewEncoder(w).Encode(peers)
		default:
			json.NewEncoder(w).Encode(protocol.Health{OK: true, Meshes: map[string]protocol.MeshHealth{"acme": {State: protocol.ConnOpen}}})
		}
	})
	env := []string{"CLAUDEMESH_CONFIG_DIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	out, code := command(t, env, "", "peers")
	if n := strings.Count(out, "bob/"); code != 0 || n != sessionsShown || !strings.Contains(out, "cathy/web") || !strings.Contains(out, "80 more sessions of bob in acme") {
		t.Errorf("exit %d, %d of bob: %s", code, n, out)
	}
	if out, code = command(t, env, "", "peers", "--json"); code != 0 || strings.Count(out, `"bob"`) != sessionsShown+80 {
		t.Errorf("exit %d, %d of bob as JSON", code, strings.Count(out, `"bob"`))
	}
}
