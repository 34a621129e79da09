package queue

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/store"
)

const killDir = "QUEUE_TEST_KILL_DIR"

// TestMain is the victim of TestKill when killDir says so.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, burst(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openFiles(dir string) (*store.DB, *Disk, error) {
	db, err := store.Open(filepath.Join(dir, "broker.db"), store.Options{})
	if err != nil {
		return nil, nil, err
	}
	q, err := Open(db, filepath.Join(dir, "journal"), Options{FlushEvery: 5 * time.Millisecond, SegmentSize: 20_000})
	return db, q, err
}

// burst puts without end and prints the LSN of each commit.
func burst(dir string) error {
	_, q, err := openFiles(dir)
	if err != nil {
		return err
	}
	out := make(chan uint64, 64)
	go func() {
		for {
			q.Put(direct(bob, "h", strings.Repeat("x", 200)), func(lsn uint64, err error) {
				if err == nil {
					out <- lsn
				}
			})
		}
	}()
	for lsn := range out {
		if _, err := fmt.Println(lsn); err != nil {
			return err
		}
	}
	return nil
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	promised := map[uint64]bool{}
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 300+200*round {
				cmd.Process.Kill()
			}
			var lsn uint64
			if _, err := fmt.Sscan(lines.Text(), &lsn); err != nil || promised[lsn] {
				t.Fatalf("lsn %q, given before %v: %v", lines.Text(), promised[lsn], err)
			}
			promised[lsn] = true
		}
		cmd.Wait()
	}
	if len(promised) < 2000 {
		t.Fatalf("only %d messages were accepted", len(promised))
	}
	db, q, err := openFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var after uint64
	for {
		rows := pull(t, q, bob, after, 500, 0)
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			delete(promised, r.LSN)
			after = r.LSN
		}
	}
	if len(promised) != 0 {
		t.Errorf("%d accepted messages are lost", len(promised))
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
	db.Close()
}
