package broker

import (
	"iter"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
)

// few is a map for a handful of keys: a member's sessions and connections, mostly one or two, for which a map of Go's takes
// eight times the room.
type few[V any] []fewItem[V]

type fewItem[V any] struct {
	key   crypto.PublicKey
	value V
}

func (f few[V]) index(key crypto.PublicKey) int {
	return slices.IndexFunc(f, func(i fewItem[V]) bool { return i.key == key })
}

// get returns the zero value for a key that is not there.
func (f few[V]) get(key crypto.PublicKey) (value V) {
	if i := f.index(key); i >= 0 {
		value = f[i].value
	}
	return value
}

func (f *few[V]) set(key crypto.PublicKey, value V) {
	if i := f.index(key); i >= 0 {
		(*f)[i].value = value
		return
	}
	*f = append(*f, fewItem[V]{key, value})
}

func (f *few[V]) remove(key crypto.PublicKey) {
	if i := f.index(key); i >= 0 {
		*f = slices.Delete(*f, i, i+1)
	}
}

// all yields what is there; the loop must not remove any.
func (f few[V]) all() iter.Seq2[crypto.PublicKey, V] {
	return func(yield func(crypto.PublicKey, V) bool) {
		for _, i := range f {
			if !yield(i.key, i.value) {
				return
			}
		}
	}
}
