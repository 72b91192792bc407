package spool

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/postrider/postrider/relay/envelope"
)

// sumSize is the length of the checksum behind a chunk's octets, and behind a record.
const sumSize = 4

// chunk adds a chunk to the batch: its octets, in two parts, and the checksum of its key and octets (CRC-32C). They
// are copied once, into the batch.
func (t *tx) chunk(id envelope.ID, n uint32, head, tail []byte) {
	key, size := chunkKey(id, n), len(head)+len(tail)
	d := t.batch.SetDeferred(len(key), size+sumSize)
	copy(d.Key, key)
	copy(d.Value, head)
	copy(d.Value[len(head):], tail)
	binary.BigEndian.PutUint32(d.Value[size:], checksum(key, d.Value[:size]))
	_ = d.Finish() // fails only on a batch that is indexed
}

// seal puts a record's checksum behind it.
func seal(key, record []byte) []byte {
	return binary.BigEndian.AppendUint32(record, checksum(key, record))
}

// unseal verifies a value that ends with its checksum, and returns the octets before.
func unseal(key, value []byte) ([]byte, error) {
	size := len(value) - sumSize
	if size < 0 || binary.BigEndian.Uint32(value[size:]) != checksum(key, value[:size]) {
		return nil, ErrDamaged
	}
	return value[:size], nil
}

func checksum(key, octets []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli(), key), castagnoli(), octets)
}
