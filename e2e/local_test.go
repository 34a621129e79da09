//go:build e2e

package e2e

import "testing"

// One laptop without a server: the daemon is the broker, and all sessions of the machine are on the mesh.
func TestOneLaptopWithoutAServer(t *testing.T) {
	h := newHome(t, "alice")
	h.must("create", "home", "--local", "--name", "alice")
	h.startDaemon()
	web, api := newAgent(t, h, "web", true), newAgent(t, h, "api", true)
	eventually(t, "each session sees the other", func() bool {
		return peersOf(web.must("list_peers", nil))["alice/api"] != nil && peersOf(api.must("list_peers", nil))["alice/web"] != nil
	})
	web.must("send_message", map[string]any{"to": "*", "message": "to all sessions here"})
	api.want("to all sessions here")
	api.must("send_message", map[string]any{"to": "alice/web", "message": "to one of them"})
	web.want("to one of them")
	h.must("group", "join", "front", "--session", "web")
	eventually(t, "the group is known", func() bool {
		out, problem := api.call("send_message", map[string]any{"to": "@front", "message": "to the group"})
		return problem == "" && out["id"] != ""
	})
	web.want("to the group")
	for _, a := range []*agent{web, api} {
		select {
		case extra := <-a.inbox:
			t.Errorf("%s got too much: %s", a.id, extra)
		default:
		}
	}
}
