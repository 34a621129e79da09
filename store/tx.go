package store

import (
	"bytes"
	"fmt"
	"iter"

	bolt "go.etcd.io/bbolt"
)

// Tx is a transaction of a DB, valid until the closure that got it returns.
// Buckets are named by strings and must exist (Options.Buckets or
// CreateBucket); a missing one is a mistake of the program and panics.
type Tx struct {
	tx      *bolt.Tx
	buckets []namedBucket // opened so far; a transaction touches few
}

type namedBucket struct {
	name string
	b    *bolt.Bucket
}

func (t *Tx) bucket(name string) *bolt.Bucket {
	for _, n := range t.buckets {
		if n.name == name {
			return n.b
		}
	}
	b := t.tx.Bucket([]byte(name))
	if b == nil {
		panic(fmt.Sprintf("store: no bucket %q", name))
	}
	t.buckets = append(t.buckets, namedBucket{name, b})
	return b
}

// CreateBucket creates the bucket when it is missing.
func (t *Tx) CreateBucket(name string) error {
	_, err := t.tx.CreateBucketIfNotExists([]byte(name))
	return err
}

// Get returns a copy of the value, or nil when there is no such key. A value
// that is present and empty is not nil.
func (t *Tx) Get(bucket string, key []byte) []byte {
	v := t.Peek(bucket, key)
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}

// Peek is Get without the copy: the value is only valid, and must not be
// changed, until the transaction ends or writes.
func (t *Tx) Peek(bucket string, key []byte) []byte {
	return t.bucket(bucket).Get(key)
}

// Put writes a row. The value must not change before the transaction ends; the
// key is copied.
func (t *Tx) Put(bucket string, key, value []byte) error {
	return t.bucket(bucket).Put(key, value)
}

// Delete removes a row; a missing one is no error.
func (t *Tx) Delete(bucket string, key []byte) error {
	return t.bucket(bucket).Delete(key)
}

// NextSequence returns the bucket's next number, from 1, each only once.
func (t *Tx) NextSequence(bucket string) (uint64, error) {
	return t.bucket(bucket).NextSequence()
}

// SkipSequence has NextSequence go on behind n, unless it is there already.
func (t *Tx) SkipSequence(bucket string, n uint64) error {
	b := t.bucket(bucket)
	if n <= b.Sequence() {
		return nil
	}
	return b.SetSequence(n)
}

// Scan walks the rows whose key begins with prefix, in order, beginning behind
// the key after (nil: at the first). Keys and values are only valid inside the
// loop body, and the bucket must not be written there: collect, then write.
func (t *Tx) Scan(bucket string, prefix, after []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := t.bucket(bucket).Cursor()
		var k, v []byte
		if bytes.Compare(after, prefix) > 0 {
			if k, v = c.Seek(after); bytes.Equal(k, after) {
				k, v = c.Next()
			}
		} else {
			k, v = c.Seek(prefix)
			if k != nil && after != nil && bytes.Equal(k, after) {
				k, v = c.Next()
			}
		}
		for ; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// ScanBack is Scan from the last row to the first, beginning before the key
// before (nil: at the last).
func (t *Tx) ScanBack(bucket string, prefix, before []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := t.bucket(bucket).Cursor()
		end := prefixEnd(prefix)
		if before != nil && (end == nil || bytes.Compare(before, end) < 0) {
			end = before
		}
		var k, v []byte
		if end == nil {
			k, v = c.Last()
		} else if k, _ = c.Seek(end); k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
		for ; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Prev() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// First returns copies of the first row whose key begins with prefix; a nil
// key means that there is none.
func (t *Tx) First(bucket string, prefix []byte) (key, value []byte) {
	for k, v := range t.Scan(bucket, prefix, nil) {
		return bytes.Clone(k), append([]byte{}, v...)
	}
	return nil, nil
}

// Last returns copies of the last row whose key begins with prefix; a nil key
// means that there is none.
func (t *Tx) Last(bucket string, prefix []byte) (key, value []byte) {
	for k, v := range t.ScanBack(bucket, prefix, nil) {
		return bytes.Clone(k), append([]byte{}, v...)
	}
	return nil, nil
}

// Count walks the rows whose key begins with prefix and returns how many.
func (t *Tx) Count(bucket string, prefix []byte) int {
	n := 0
	for range t.Scan(bucket, prefix, nil) {
		n++
	}
	return n
}

// DeletePrefix removes the rows whose key begins with prefix and returns how
// many they were.
func (t *Tx) DeletePrefix(bucket string, prefix []byte) (int, error) {
	var keys [][]byte
	for k := range t.Scan(bucket, prefix, nil) {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := t.Delete(bucket, k); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// prefixEnd is the smallest key behind all that begin with prefix, nil when
// there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
