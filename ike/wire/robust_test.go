package wire

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
)

// A message cut anywhere is refused with an error that the state machines know, whether its header tells the cut length or the whole one.
func TestTruncation(t *testing.T) {
	for i, whole := range samples(t) {
		for n := range whole {
			cut := bytes.Clone(whole[:n])
			if _, err := Parse(cut); err == nil || !typed(err) {
				t.Errorf("sample %d cut to %d octets: error %v", i, n, err)
			}
			if n < HeaderLength {
				continue
			}
			binary.BigEndian.PutUint32(cut[24:], uint32(n))
			if _, err := Parse(cut); err == nil || !typed(err) {
				t.Errorf("sample %d cut to %d octets with that length: error %v", i, n, err)
			}
			if _, err := ParsePayloads(PayloadType(whole[16]), cut[HeaderLength:]); err == nil || !typed(err) {
				t.Errorf("chain of sample %d cut to %d octets: error %v", i, n, err)
			}
		}
	}
}

// A message with any one bit turned either parses to something that survives emission, or is refused with a known error.
func TestBitFlips(t *testing.T) {
	for _, whole := range samples(t) {
		for bit := range len(whole) * 8 {
			flipped := bytes.Clone(whole)
			flipped[bit/8] ^= 1 << (bit % 8)
			checkParse(t, flipped)
		}
	}
}

// The dearest datagrams found cost a bounded multiple of their length in memory.
func TestMemoryOfHostileDatagrams(t *testing.T) {
	fill := func(payload PayloadType, head, unit string, count int) []byte {
		body := append(octets(t, head), bytes.Repeat(octets(t, unit), count)...)
		b := append(octets(t, "00 00 0000"), body...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		// As many of these payloads as fit a message.
		chain := bytes.Repeat(b, min(MaxPayloads, (MaxMessage-HeaderLength)/len(b)))
		for i := 0; i+len(b) < len(chain); i += len(b) {
			chain[i] = byte(payload)
		}
		return chain
	}
	for name, c := range map[string]struct {
		payload PayloadType
		chain   []byte
	}{
		"selectors":     {PayloadTSi, fill(PayloadTSi, "ff 000000", "63 00 0004", 255)},
		"payloads":      {PayloadVendorID, fill(PayloadVendorID, "", "78", 1)},
		"configuration": {PayloadConfiguration, fill(PayloadConfiguration, "01 000000", "0001 0000", MaxConfigAttributes)},
		"attributes":    {PayloadSA, fill(PayloadSA, "00 00 0030 01 01 00 01 00 00 0028 01 00 0001", "8001 0000", MaxAttributes)},
		"SPIs":          {PayloadDelete, fill(PayloadDelete, "03 04 0fa0", "00000001", 4000)},
	} {
		if _, err := ParsePayloads(c.payload, c.chain); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		const runs, factor = 10, 32
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			_, _ = ParsePayloads(c.payload, c.chain)
		}
		runtime.ReadMemStats(&after)
		if cost := (after.TotalAlloc - before.TotalAlloc) / runs; cost > uint64(factor*len(c.chain)+1024) {
			t.Errorf("%s: %d octets cost %d octets of memory, expected at most %d times as much", name, len(c.chain), cost, factor)
		}
	}
}
