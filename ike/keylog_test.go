package ike

import (
	"bytes"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// The keys that are logged open what is on the wire, are those that the data plane gets, and both ends log the same; without a log there is none. Additional
// key exchanges change the keys of the IKE SA each time, a PPK those of Child SAs alone.
func TestKeyLogOpensTheWire(t *testing.T) {
	const twice = "aes128gcm16-prfsha256-curve25519-ke1_mlkem512-ke2_mlkem768"
	for name, c := range map[string]struct {
		change func(*Config)
		keys   int // of IKE SAs, each end
	}{
		"plain":                    {offering(t, "aes128gcm16-prfsha256-curve25519"), 1},
		"additional key exchanges": {offering(t, twice), 3},
		"in fragments":             {func(c *Config) { offering(t, twice)(c); c.Peers[0].FragmentSize = leastFragmentSize }, 3},
		"PPK":                      {havingPPK("site", "a postquantum preshared key", true), 1},
		"PPK and additional key exchanges": {func(c *Config) {
			offering(t, twice)(c)
			havingPPK("site", "a postquantum preshared key", true)(c)
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var a, b keyLogs
			l := join(t, func(cfg *Config) { c.change(cfg); cfg.KeyLog = a.keep }, func(cfg *Config) { c.change(cfg); cfg.KeyLog = b.keep })
			l.begin()
			opened := 0
			for ; len(l.wire) > 0; l.deliver(0) {
				if a.opens(t, l.wire[0].payload) != b.opens(t, l.wire[0].payload) {
					t.Error("one end has logged what opens a message, the other has not")
				}
				opened++
			}
			l.established("net")
			if opened < 2*(c.keys+1) || len(a.ike) != c.keys || len(b.ike) != c.keys || len(a.children) != 2 || len(b.children) != 2 {
				t.Fatalf("%d messages; %d and %d keys of IKE SAs; %d and %d of Child SAs", opened, len(a.ike), len(b.ike), len(a.children), len(b.children))
			}
			for _, installed := range []map[uint32]ChildSA{l.a.inbound, l.a.outbound} {
				for spi, sa := range installed {
					if !bytes.Equal(a.children[spi], sa.Keymat.Bytes()) || !bytes.Equal(b.children[spi], sa.Keymat.Bytes()) {
						t.Errorf("SPI %#x: another key was installed than logged", spi)
					}
				}
			}
		})
	}
}

// keyLogs is what an end has logged.
type keyLogs struct {
	ike      []KeyLog
	children map[uint32][]byte // by SPI
}

func (k *keyLogs) keep(keys KeyLog) {
	if keys.Child != nil {
		if k.children == nil {
			k.children = map[uint32][]byte{}
		}
		k.children[keys.Child.SPI] = bytes.Clone(keys.Child.Keymat.Bytes())
		return
	}
	clone := func(s crypto.Secret) crypto.Secret { return crypto.NewSecret(bytes.Clone(s.Bytes())) }
	keys.EI, keys.ER, keys.AI, keys.AR = clone(keys.EI), clone(keys.ER), clone(keys.AI), clone(keys.AR)
	k.ike = append(k.ike, keys)
}

// opens reports whether a message is sealed, and wants it to open with the last keys that were logged for its SPIs, or with those before: a responder knows
// the next ones when it answers by the last.
func (k *keyLogs) opens(t *testing.T, payload []byte) bool {
	t.Helper()
	m, err := wire.Parse(payload)
	if err != nil {
		t.Fatal(err)
	}
	var aad, body []byte
	if sealed := wire.Find[*wire.Encrypted](m.Payloads); sealed != nil {
		aad, body = sealed.AAD, sealed.Body
	} else if f := wire.Find[*wire.Fragment](m.Payloads); f != nil {
		aad, body = f.AAD, f.Body
	} else {
		return false
	}
	for _, keys := range k.ike[max(0, len(k.ike)-2):] {
		encr, integ := keys.ER, keys.AR
		if m.FromInitiator() {
			encr, integ = keys.EI, keys.AI
		}
		cipher, err := crypto.NewIKECipher(keys.Suite, encr, integ)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cipher.Open(aad, body); err == nil && keys.SPIi == m.InitiatorSPI && keys.SPIr == m.ResponderSPI {
			return true
		}
	}
	t.Errorf("%v does not open with the keys that were logged last", m.Exchange)
	return true
}
