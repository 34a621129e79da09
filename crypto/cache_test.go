package crypto

import (
	"errors"
	"sync"
	"testing"
)

func TestSharedCache(t *testing.T) {
	c := NewSharedCache(alice, 2)
	want, err := alice.Shared(bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := c.Shared(bob.Public()); err != nil || got != want {
			t.Fatalf("got another key (%v)", err)
		}
	}
	c.put(bob.Public(), Key{1}) // already there
	if got, _ := c.Shared(bob.Public()); got != want {
		t.Error("a second derivation replaced the first")
	}
}

func TestSharedCacheDropsTheLeastRecent(t *testing.T) {
	c := NewSharedCache(alice, 2)
	dave := GenerateKey()
	for _, peer := range []*PrivateKey{bob, cathy, bob, dave} {
		if _, err := c.Shared(peer.Public()); err != nil {
			t.Fatal(err)
		}
	}
	for peer, want := range map[*PrivateKey]bool{bob: true, dave: true, cathy: false} {
		if _, got := c.get(peer.Public()); got != want {
			t.Errorf("%s kept: %t, want %t", peer.Public().Short(), got, want)
		}
	}
	if len(c.byPeer) != 2 || c.recent.Len() != 2 {
		t.Errorf("holds %d and %d keys, want 2", len(c.byPeer), c.recent.Len())
	}
}

func TestSharedCacheForgetsRefusals(t *testing.T) {
	c := NewSharedCache(alice, 2)
	for i := range byte(20) {
		if _, err := c.Shared(PublicKey{31: 0x7f, 30: 0xff, 1: i}); err == nil {
			continue
		} else if !errors.Is(err, ErrKey) {
			t.Fatalf("got %v, want %v", err, ErrKey)
		}
	}
	if _, err := c.Shared(PublicKey{}); !errors.Is(err, ErrKey) {
		t.Fatalf("got %v, want %v", err, ErrKey)
	}
	if len(c.byPeer) > 2 {
		t.Errorf("holds %d keys, want at most 2", len(c.byPeer))
	}
	if _, ok := c.get(PublicKey{}); ok {
		t.Error("a refused key is remembered")
	}
}

func TestSharedCacheConcurrently(t *testing.T) {
	c := NewSharedCache(alice, 2)
	peers := []*PrivateKey{bob, cathy, GenerateKey()}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			peer := peers[i%len(peers)]
			for range 20 {
				got, err := c.Shared(peer.Public())
				want, _ := peer.Shared(alice.Public())
				if err != nil || got != want {
					t.Errorf("got another key (%v)", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSharedCacheWithoutRoom(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a cache of 0 keys was made")
		}
	}()
	NewSharedCache(alice, 0)
}
