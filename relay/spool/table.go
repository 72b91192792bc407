package spool

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// A table holds small records that belong to the queue but are no mail: what an admin told the relay, and which
// recipients are suppressed. Names of tables hold no zero octet; keys and values are the caller's.

// Put stores a record in a table. It is on stable storage when Put returns nil.
func (s *Store) Put(table, key string, value []byte) error {
	return s.write(func(t *tx) { t.set(tableKey(table, key), value) })
}

// Drop removes a record from a table; one that is not there is no error.
func (s *Store) Drop(table, key string) error {
	return s.write(func(t *tx) { t.delete(tableKey(table, key)) })
}

// write stores a batch, synced.
func (s *Store) write(f func(*tx)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.batch(synced, func(t *tx) error { f(t); return nil })
}

// Lookup reads a record of a table. ErrNotFound when there is none.
func (s *Store) Lookup(table, key string) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return get(s.db, tableKey(table, key))
}

// Row is a record of a table.
type Row struct {
	Key   string
	Value []byte
}

// Rows pages through a table in order of keys, beginning behind after. A page shorter than limit is the last.
func (s *Store) Rows(table, after string, limit int) ([]Row, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix := tableKey(table, "")
	lower := prefix
	if after != "" {
		lower = append(tableKey(table, after), 0)
	}
	upper := append(bytes.Clone(prefix[:len(prefix)-1]), 1)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, err)
	}
	var page []Row
	for it.First(); it.Valid() && len(page) < limit; it.Next() {
		page = append(page, Row{Key: string(it.Key()[len(prefix):]), Value: bytes.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, readError(err))
	}
	return page, nil
}
