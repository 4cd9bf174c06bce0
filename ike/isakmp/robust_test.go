package isakmp

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

// A message cut anywhere is refused with an error that the state machines know, whether its header tells the cut length or the whole one.
func TestTruncation(t *testing.T) {
	for i, whole := range samples(t) {
		encrypted := mustParse(t, whole).Encrypted()
		for n := range whole {
			cut := bytes.Clone(whole[:n])
			if _, err := Parse(cut); err == nil || !typed(err) {
				t.Errorf("sample %d cut to %d octets: error %v", i, n, err)
			}
			if n < HeaderLength {
				continue
			}
			if _, err := ParsePayloads(PayloadType(whole[16]), cut[HeaderLength:]); err == nil && !encrypted || err != nil && !typed(err) {
				t.Errorf("chain of sample %d cut to %d octets: error %v", i, n, err)
			}
			binary.BigEndian.PutUint32(cut[24:], uint32(n))
			// What is left of ciphertext is ciphertext as well.
			if _, err := Parse(cut); err == nil && (!encrypted || n == HeaderLength) || err != nil && !typed(err) {
				t.Errorf("sample %d cut to %d octets with that length: error %v", i, n, err)
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

// proposals makes the body of an SA payload by hand, which no emission of ours would.
func proposals(t *testing.T, count, transforms int, attributes string) []byte {
	t.Helper()
	transform := octets(t, "03 00 0000 01 01 0000"+attributes)
	binary.BigEndian.PutUint16(transform[2:], uint16(len(transform)))
	list := bytes.Repeat(transform, transforms)
	list[len(list)-len(transform)] = 0
	proposal := append(octets(t, "02 00 0000 01 01 00 00"), list...)
	proposal[7] = byte(transforms)
	binary.BigEndian.PutUint16(proposal[2:], uint16(len(proposal)))
	b := append(octets(t, "00 00 0000"+ipsecDOI), bytes.Repeat(proposal, count)...)
	b[len(b)-len(proposal)] = 0
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// 100 proposals with 100 transforms each are more than a datagram may have and are refused before they are looked at; as many as fit are read.
func TestManyProposals(t *testing.T) {
	if _, err := ParsePayloads(PayloadSA, proposals(t, 100, 100, "")); err == nil || !strings.Contains(err.Error(), "octets of payloads, expected at most") {
		t.Errorf("100 proposals of 100 transforms give error %v, expected a refusal by length", err)
	}
	for _, c := range []struct{ proposals, transforms int }{{100, 19}, {8, 250}, {MaxProposals, 14}} {
		chain, err := ParsePayloads(PayloadSA, proposals(t, c.proposals, c.transforms, ""))
		if err != nil {
			t.Fatal(err)
		}
		sa := Find[*SA](chain.Payloads)
		if len(sa.Proposals) != c.proposals || len(sa.Proposals[c.proposals-1].Transforms) != c.transforms {
			t.Errorf("%d proposals of %d transforms are read as %d of %d", c.proposals, c.transforms, len(sa.Proposals), len(sa.Proposals[c.proposals-1].Transforms))
		}
		useTransforms(t, sa)
	}
}

// The dearest datagrams found cost a bounded multiple of their length in memory.
func TestMemoryOfHostileDatagrams(t *testing.T) {
	fill := func(payload PayloadType, head, unit string, count int) []byte {
		body := append(octets(t, head), bytes.Repeat(octets(t, unit), count)...)
		b := append(octets(t, "00 00 0000"), body...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		// As many of these payloads as fit a message.
		chain := bytes.Repeat(b, min(MaxPayloads, MaxMessage/len(b)))
		for i := 0; i+len(b) < len(chain); i += len(b) {
			chain[i] = byte(payload)
		}
		return chain
	}
	for name, c := range map[string]struct {
		payload PayloadType
		chain   []byte
	}{
		"payloads":   {PayloadVendorID, fill(PayloadVendorID, "", "78", 1)},
		"proposals":  {PayloadSA, proposals(t, MaxProposals, 1, "")},
		"transforms": {PayloadSA, proposals(t, 8, 250, "")},
		"attributes": {PayloadSA, proposals(t, 1, 100, strings.Repeat("80010001", MaxAttributes))},
		"SPIs":       {PayloadDelete, fill(PayloadDelete, "00000001 03 04 0fa0", "00000001", 4000)},
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

func BenchmarkParseMainModeRequest(b *testing.B) {
	request := captured(b, captures[0])[0].message
	b.SetBytes(int64(len(request)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(request); err != nil {
			b.Fatal(err)
		}
	}
}
