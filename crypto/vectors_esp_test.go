package crypto

import (
	"errors"
	"testing"
)

// S-100: whole ESP packets from the documents of their algorithms open, and sealing what was in
// them gives them again.
func TestESPVectors(t *testing.T) {
	cases := []struct {
		source     string
		suite      string
		spi        uint32
		keymat     string
		esn        bool
		seqHigh    uint32
		packet     string
		payload    string
		nextHeader uint8
	}{
		{
			"draft-mcgrew-gcm-test-01, first packet, with an extended sequence number", "aes128gcm16", 0x4321,
			"4c80cdefbb5d10da906ac73c3613a634 2e443b68", true, 0x87654321,
			`00004321 00000000 4956ed7e3b244cfe
			fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff62
			47aeabb786b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4`,
			`45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f756470037369
			700963796265726369747902646b0000210001`, 1,
		},
		{
			"draft-mcgrew-gcm-test-01, AES-256", "aes256gcm16", 0x4a2cbfe3,
			"abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344", false, 0,
			`4a2cbfe3 00000002 0102030405060708
			ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99def842d8e
			b335f4eecfdbf831824b4c4915956c96`,
			"4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b401010402", 1,
		},
		{
			"draft-mcgrew-gcm-test-01, AES-GMAC", "aes128gmac", 0x4321,
			"4c80cdefbb5d10da906ac73c3613a634 22433c64", false, 0,
			`00004321 00000007 0000000000000000
			45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f7071727374 01020201
			f2a9a836e155106aa8dcd618e4099aaa`,
			"45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f7071727374", 1,
		},
		{
			"RFC 7634 appendix A", "chacha20poly1305", 0x01020304,
			"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3", false, 0,
			`01020304 00000005 1011121314151617
			24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
			cbec163fac469b502773f6fb94e664da9165b82829f641e076aaa8266b7fb0f7b11b369907e1ad43`,
			`45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f1011121314151617
			18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637`, 4,
		},
	}
	for _, c := range cases {
		t.Run(c.source, func(t *testing.T) {
			s, err := ParseSuite(c.suite)
			if err != nil {
				t.Fatal(err)
			}
			esp, err := NewESP(s, c.spi, NewSecret(unhex(t, c.keymat)), WithESN(c.esn))
			if err != nil {
				t.Fatal(err)
			}
			packet, payload := unhex(t, c.packet), unhex(t, c.payload)
			opened, nextHeader, seq, err := esp.Open(packet, c.seqHigh)
			if err != nil || nextHeader != c.nextHeader {
				t.Fatalf("next header %d, error %v", nextHeader, err)
			}
			same(t, "payload", opened, payload)
			sealed, err := esp.Seal(uint64(c.seqHigh)<<32|uint64(seq), packet[8:8+s.IVLen()], payload, nextHeader)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "packet", sealed, packet)
			packet[8+s.IVLen()+3] ^= 0x40
			if _, _, _, err := esp.Open(packet, c.seqHigh); !errors.Is(err, ErrICV) {
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
