package broker

import (
	"iter"

	"github.com/claudemesh/claudemesh/protocol"
)

// Members decide how long an item of a list is. These bounds, and pages by size, keep every frame below what a daemon reads:
// a longer one would be the end of everybody's connection, and of the next one, too.
const (
	maxShownWord  = 128                   // bytes of a session id, a peer type or a channel, of which each may be escaped
	maxMemberItem = protocol.MaxFrame / 4 // bytes of the statements in one member's item
)

// paged yields items in pages whose sizes add up to at most most. An item that is larger has a page for itself.
func paged[T any](items []T, size func(T) int, most int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		start, sum := 0, 0
		for i, item := range items {
			n := size(item)
			if i > start && sum+n > most {
				if !yield(items[start:i:i]) {
					return
				}
				start, sum = i, 0
			}
			sum += n
		}
		if start < len(items) {
			yield(items[start:])
		}
	}
}

// sizeOfPeer is about how long the item is as JSON, and not less.
func sizeOfPeer(item protocol.PeerItem) int {
	n := peerSize + len(item.Session) + 6*(len(item.SessionID)+len(item.PeerType)+len(item.Channel)) // every byte may be escaped
	for _, g := range item.Groups {
		n += len(g) + 3
	}
	if item.Card != nil {
		n += len(item.Card.Ciphertext) + len(item.Card.Key)
	}
	return n
}
