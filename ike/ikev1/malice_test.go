package ikev1

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// liar has an end's messages of phase 2 changed inside their encryption, with a HASH that is right again: what a peer could send that holds the keys and no
// rule. It follows the IV chains by what is on the wire.
type liar struct {
	end    *end
	change func(kind isakmp.ExchangeType, number int, plain []byte) []byte // of what follows HASH; nil leaves the message as it is
	chains map[uint32][]byte
	counts map[uint32]int
	nonces map[uint32][]byte // the initiator's
}

// twist is for link.twist.
func (a *liar) twist(from *end, payload []byte) []byte {
	h, err := isakmp.ParseHeader(payload)
	sa := from.engine.sas[h.Cookies]
	if err != nil || sa == nil || sa.last == nil || h.MessageID == 0 || !h.Encrypted() {
		return payload
	}
	iv := a.chains[h.MessageID]
	if iv == nil {
		iv = sa.keys.phase2IV(sa.last, h.MessageID)
	}
	a.counts[h.MessageID]++
	block := sa.keys.cipher.BlockSize()
	a.chains[h.MessageID] = payload[len(payload)-block:]
	plain, _, err := sa.keys.cipher.Decrypt(iv, payload[isakmp.HeaderLength:])
	if err != nil {
		return payload
	}
	chain, err := isakmp.ParsePayloads(h.NextPayload, plain)
	if err != nil {
		return payload // sent again
	}
	if n := isakmp.Find[*isakmp.Nonce](chain.Payloads); n != nil && a.counts[h.MessageID] == 1 {
		a.nonces[h.MessageID] = n.Data
	}
	if from != a.end {
		return payload
	}
	rest := a.change(h.Exchange, a.counts[h.MessageID], append([]byte(nil), chain.Rest()...))
	if rest == nil {
		return payload
	}
	hash := sa.keys.hash1(h.MessageID, rest)
	if h.Exchange == isakmp.ExchangeQuick && a.counts[h.MessageID] == 2 {
		hash = sa.keys.hash2(h.MessageID, a.nonces[h.MessageID], rest)
	}
	next := isakmp.PayloadType(plain[0])
	if len(rest) == 0 {
		next = isakmp.PayloadNone
	}
	changed, err := isakmp.PrependHash(hash, next, rest)
	if err != nil {
		return payload
	}
	changed = append(changed, make([]byte, (block-len(changed)%block)%block)...)
	ciphertext, last := sa.keys.cipher.Encrypt(iv, changed)
	b, err := h.Prefix(isakmp.PayloadHash, len(ciphertext))
	if err != nil {
		return payload
	}
	a.chains[h.MessageID] = last
	return append(b, ciphertext...)
}

// lies are ways to change a chain of payloads: cut at an octet, an octet changed, a payload left out, said twice.
func lies(at int, plain []byte) [][]byte {
	list := [][]byte{plain[:at]}
	flipped := append([]byte(nil), plain...)
	flipped[at] ^= 0x55
	list = append(list, flipped)
	if length := int(binary.BigEndian.Uint16(plain[2:])); at == 0 && length <= len(plain) {
		list = append(list, plain[length:], append(append([]byte(nil), plain[:length]...), plain...))
	}
	return list
}

// A peer that holds the keys and lies in its quick modes, all along every message and in both roles, makes no more of it than a quick mode that
// fails: nothing breaks, and with the next one that is true the tunnel is there.
func TestLyingPeer(t *testing.T) {
	const step = 7 // octets: prime, so that every kind of field has its turn
	for _, which := range []string{"a", "b"} {
		for number := 1; number <= 3; number++ {
			t.Run(fmt.Sprintf("%s in message %d", which, number), func(t *testing.T) {
				for at := 0; ; at += step {
					length := 0
					for variant := range 4 {
						l := join(t, nil, nil)
						a := &liar{chains: map[uint32][]byte{}, counts: map[uint32]int{}, nonces: map[uint32][]byte{}}
						a.end = map[string]*end{"a": l.a, "b": l.b}[which]
						told := false
						a.change = func(kind isakmp.ExchangeType, n int, plain []byte) []byte {
							if kind != isakmp.ExchangeQuick || n != number || told {
								return nil
							}
							if length = len(plain); at >= length || variant >= len(lies(at, plain)) {
								return nil
							}
							told = true
							return lies(at, plain)[variant]
						}
						l.twist = a.twist
						l.begin()
						l.advance(time.Second)
						l.bounded()
						l.twist = nil
						for _, n := range []*end{l.a, l.b} {
							n.step(ike.Terminate{Peer: n.engine.peers[0].cfg.Name})
						}
						l.advance(3 * time.Minute)
						l.a.step(ike.Initiate{Peer: "b"})
						l.advance(10 * time.Second)
						l.established()
					}
					if at+step >= length {
						return
					}
				}
			})
		}
	}
}

// The same of the greeting and of deletes.
func TestLyingInformational(t *testing.T) {
	for at := range 40 {
		for variant := range 4 {
			l := join(t, nil, nil)
			a := &liar{end: l.a, chains: map[uint32][]byte{}, counts: map[uint32]int{}, nonces: map[uint32][]byte{}}
			a.change = func(kind isakmp.ExchangeType, _ int, plain []byte) []byte {
				if kind != isakmp.ExchangeInformational || at >= len(plain) || variant >= len(lies(at, plain)) {
					return nil
				}
				return lies(at, plain)[variant]
			}
			l.twist = a.twist
			l.begin()
			l.run()
			l.established()
			l.a.step(ike.Terminate{Peer: "b", Child: "net"})
			l.a.step(ike.Terminate{Peer: "b"})
			l.advance(time.Second)
			l.bounded()
		}
	}
}
