package store

import (
	"encoding/binary"
	"hash/crc32"
)

// A segment is a header and records, nothing between or behind them.
//
//	segment  magic(8) base(8)                        base: LSN of its first record
//	record   crc(4) length(4) lsn(8) payload(length)
//
// Integers are little-endian. The CRC-32C covers all of the record behind it.
const (
	segmentMagic  = "cmjrnl\x00\x01"
	segmentHeader = 16
	recordHeader  = 16

	// MaxRecord is the most payload bytes of one record. It bounds what a
	// damaged length can ask for.
	MaxRecord = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealRecord writes the header of a record whose payload begins at
// b[recordHeader].
func sealRecord(b []byte, lsn uint64) {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-recordHeader))
	binary.LittleEndian.PutUint64(b[8:], lsn)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
}

// nextRecord reads the record at the beginning of b. It is not ok when b holds
// no whole record with a right checksum.
func nextRecord(b []byte) (lsn uint64, payload []byte, ok bool) {
	if len(b) < recordHeader {
		return 0, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(b[4:]))
	if n > MaxRecord || n > uint64(len(b)-recordHeader) {
		return 0, nil, false
	}
	end := recordHeader + int(n)
	if crc32.Checksum(b[4:end], castagnoli) != binary.LittleEndian.Uint32(b) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint64(b[8:]), b[recordHeader:end:end], true
}

func appendSegmentHeader(b []byte, base uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, segmentMagic...), base)
}

func segmentBase(b []byte) (base uint64, ok bool) {
	if len(b) < segmentHeader || string(b[:len(segmentMagic)]) != segmentMagic {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[len(segmentMagic):]), true
}
