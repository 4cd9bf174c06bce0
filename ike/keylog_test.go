package ike

import (
	"bytes"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// The keys that are logged open what is on the wire, are those that the data plane gets, and both ends log the same; without a log there is none.
func TestKeyLogOpensTheWire(t *testing.T) {
	var logged []KeyLog
	var children [][]byte
	keep := func(k KeyLog) {
		if k.Child != nil {
			children = append(children, bytes.Clone(k.Child.Keymat.Bytes()))
			return
		}
		clone := func(s crypto.Secret) crypto.Secret { return crypto.NewSecret(bytes.Clone(s.Bytes())) }
		k.EI, k.ER, k.AI, k.AR = clone(k.EI), clone(k.ER), clone(k.AI), clone(k.AR)
		logged = append(logged, k)
	}
	l := join(t, func(c *Config) { c.KeyLog = keep }, nil)
	l.begin()
	opened := 0
	for len(l.wire) > 0 {
		m, err := wire.Parse(l.wire[0].payload)
		if err != nil {
			t.Fatal(err)
		}
		if sealed := wire.Find[*wire.Encrypted](m.Payloads); sealed != nil {
			keys := logged[len(logged)-1]
			encr, integ := keys.ER, keys.AR
			if m.FromInitiator() {
				encr, integ = keys.EI, keys.AI
			}
			cipher, err := crypto.NewIKECipher(keys.Suite, encr, integ)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := cipher.Open(sealed.AAD, sealed.Body); err != nil || keys.SPIi != m.InitiatorSPI || keys.SPIr != m.ResponderSPI {
				t.Errorf("%v with the keys of %x and %x: %v", m.Exchange, keys.SPIi, keys.SPIr, err)
			}
			opened++
		}
		l.deliver(0)
	}
	l.established("net")
	if opened < 2 || len(children) != 2 {
		t.Fatalf("opened %d messages; %d keys of Child SAs", opened, len(children))
	}
	for _, sa := range l.a.inbound {
		if !bytes.Equal(children[0], sa.Keymat.Bytes()) {
			t.Error("another key was installed inbound than logged")
		}
	}
}
