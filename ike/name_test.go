package ike

import (
	"encoding/binary"
	"testing"
)

// Every SPI of an IKE SA that a gateway gives, as initiator, as responder and in a rekey, has its name from Config.NameSPI: its data plane knows by that which messages are for
// an IKE SA of its own.
func TestSPIsAreNamed(t *testing.T) {
	const mark = 0x5a5a
	name := func(cfg *Config) {
		cfg.NameSPI = func(random uint64) uint64 { return random&^0xffff | mark }
	}
	l := up(t, name, name)
	l.a.rekey(rekeyIKE)
	l.run()
	l.b.rekey(rekeyIKE)
	l.run()
	l.established("net")
	if n := len(l.a.engine.sas) + len(l.b.engine.sas); n != 2 {
		t.Errorf("%d IKE SAs at both ends", n)
	}
	for _, n := range []*end{l.a, l.b} {
		for spi := range n.engine.sas {
			if spi&0xffff != mark {
				t.Errorf("%s has given SPI %x", n.name, spi)
			}
		}
	}
	seen := 0
	for _, ef := range append(l.a.effects, l.b.effects...) {
		s, ok := ef.(Send)
		if !ok || len(s.Payload) < 16 {
			continue
		}
		for at := 0; at < 16; at += 8 {
			if spi := binary.BigEndian.Uint64(s.Payload[at:]); spi != 0 && spi&0xffff != mark {
				t.Errorf("a message names %x", spi)
			}
		}
		seen++
	}
	if seen < 8 {
		t.Errorf("%d messages", seen)
	}
}
