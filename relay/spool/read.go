package spool

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// get copies a value out of the store.
func get(r pebble.Reader, key []byte) ([]byte, error) { return getInto(nil, r, key) }

// getInto is get into a buffer, which may grow.
func getInto(buf []byte, r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, readError(err)
	}
	return append(buf[:0], value...), closer.Close()
}

// readError marks what pebble's own checksums found.
func readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return errors.Join(ErrDamaged, err)
	}
	return err
}

func readEntry(r pebble.Reader, k envelope.Key) (envelope.Envelope, error) {
	value, err := get(r, entryKey(k))
	if err != nil {
		return envelope.Envelope{}, fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, err)
	}
	return decodeEntry(k, value)
}

func readMeta(r pebble.Reader, id envelope.ID) (meta, error) {
	value, err := get(r, metaKey(id))
	if err != nil {
		return meta{}, fmt.Errorf("message %s: %w", id, err)
	}
	return decodeMeta(id, value)
}

// readChunk returns a chunk's octets, verified, in a buffer, which may grow.
func readChunk(buf []byte, r pebble.Reader, id envelope.ID, n uint32) ([]byte, error) {
	key := chunkKey(id, n)
	value, err := getInto(buf, r, key)
	if err == nil {
		value, err = unseal(key, value)
	}
	if err != nil {
		return nil, fmt.Errorf("chunk %d of message %s: %w", n, id, err)
	}
	return value, nil
}

// scan calls f for every key of a kind, in order. What f is given is valid only during the call.
func scan(r pebble.Reader, kind byte, f func(key, value []byte) error) error {
	return scanRange(r, []byte{kind}, []byte{kind + 1}, f)
}

func scanRange(r pebble.Reader, lower, upper []byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = f(it.Key(), value)
		}
	}
	return errors.Join(err, it.Close())
}
