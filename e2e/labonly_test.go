//go:build e2e && systemd

package e2e

import "testing"

func TestLabBoots(t *testing.T) {
	l := bootLab(t)
	t.Log(l.must(l.root("systemctl", "--no-pager", "list-units", "--failed")))
	l.must(l.root("systemctl", "start", "user@4242.service"))
	t.Log(l.must(l.alice("systemctl", "--user", "status", "--no-pager")))
	t.Log(l.must(l.alice("sh", "-c", "id; ls /tmp /run/user/4242; ls -d /home/*; ps ax | head -40")))
}
