package crypto

import (
	"errors"
	"testing"

	"sallyport/crypto/vectors"
)

// S-100: whole ESP packets from the documents of their algorithms open, and sealing what was in
// them gives them again.
func TestESPVectors(t *testing.T) {
	for _, c := range vectors.Packets {
		t.Run(c.Source, func(t *testing.T) {
			s, err := ParseSuite(c.Suite)
			if err != nil {
				t.Fatal(err)
			}
			esp, err := NewESP(s, c.SPI, NewSecret(unhex(t, c.Keymat)), WithESN(c.ESN))
			if err != nil {
				t.Fatal(err)
			}
			packet, payload := unhex(t, c.Packet), unhex(t, c.Payload)
			opened, nextHeader, seq, err := esp.Open(packet, c.SequenceHigh)
			if err != nil || nextHeader != c.NextHeader {
				t.Fatalf("next header %d, error %v", nextHeader, err)
			}
			same(t, "payload", opened, payload)
			sealed, err := esp.Seal(uint64(c.SequenceHigh)<<32|uint64(seq), packet[8:8+s.IVLen()], payload, nextHeader)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "packet", sealed, packet)
			packet[8+s.IVLen()+3] ^= 0x40
			if _, _, _, err := esp.Open(packet, c.SequenceHigh); !errors.Is(err, ErrICV) {
				t.Errorf("a changed payload: error %v", err)
			}
		})
	}
}

// TestESPCBCVector is case 5 of RFC 3602 section 4, an ESP packet without ICV.
func TestESPCBCVector(t *testing.T) {
	s := Suite{Encr: EncrAESCBC, KeyBits: 128, Integ: IntegHMACSHA1}
	keymat := NewSecret(append(unhex(t, "90d382b410eeba7ad938c46cec1a82bf"), make([]byte, s.IntegKeyLen())...))
	esp, err := NewESP(s, 0x4321, keymat)
	if err != nil {
		t.Fatal(err)
	}
	payload := unhex(t, `08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627
		28292a2b2c2d2e2f3031323334353637`)
	sealed, err := esp.Seal(1, unhex(t, "e96e8c08ab465763fd098d45dd3ff893"), payload, 1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "packet", sealed[:len(sealed)-s.ICVLen()], unhex(t, `00004321 00000001 e96e8c08ab465763fd098d45dd3ff893
		f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c
		538ab50c551b874aa269add047ad2d5913ac19b7cfbad4a6`))
}
