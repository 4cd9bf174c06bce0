package hostile

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/perf/lab"
)

// insider.go: a peer that has authenticated, and then says what its engine never would: deletes for SPIs that are not its own. They must end nothing of anybody else's.

// sessionKeys are those by which a peer writes on its IKE SA.
type sessionKeys struct {
	spis                      [2]uint64 // the initiator's, the responder's
	suite                     crypto.Suite
	encryption, authenticator crypto.Secret // by IKEv1 the latter is SKEYID_a
}

// keep takes the keys of an IKE SA out of the log of an engine.
func (s *station) keep(k ike.KeyLog) {
	if k.Child == nil {
		s.keys[k.SPIi] = sessionKeys{[2]uint64{k.SPIi, k.SPIr}, k.Suite, crypto.NewSecret(append([]byte{}, k.EI.Bytes()...)), crypto.NewSecret(append([]byte{}, k.AI.Bytes()...))}
	}
}

// insider is an attacker who has connected by a version, the keys of its IKE SA, and what its messages go out with. The last message of main mode is what it has received.
type insider struct {
	*member
	keys      sessionKeys
	addresses lab.Datagram
	last      []byte
}

func (b *bed) insider(ctx context.Context, version ike.Version) (in insider, err error) {
	in.member = attackerOf(version)
	if err := b.connect(ctx, in.member, prepareLimit); err != nil {
		return in, err
	}
	first, err := b.station.sentBy(in.member, 0)
	if err != nil {
		return in, err
	}
	in.addresses = lab.Datagram{From: first.From, To: first.To}
	err = b.station.do(ctx, func() error {
		initiator, known := binary.BigEndian.Uint64(first.Payload), false
		if in.keys, known = b.station.keys[initiator]; !known {
			return fmt.Errorf("hostile: the log has no keys of %s, IKE SA %#x", in.name, initiator)
		}
		in.last = b.station.last[in.address]
		return nil
	})
	return in, err
}

// deletesAtOnce is how many SPIs one message names.
const deletesAtOnce = 100

// spiWalk goes through all SPIs there are.
type spiWalk uint32

// body is that of a delete payload, of either version (RFC 7296 3.11, RFC 2408 3.15 behind its DOI), for the next ones.
func (w *spiWalk) body() []byte {
	b := []byte{protocolESP, 4, deletesAtOnce >> 8, deletesAtOnce & 0xff}
	for range deletesAtOnce {
		*w += 0x9e3779b1 // each once
		b = binary.BigEndian.AppendUint32(b, uint32(*w))
	}
	return b
}

// payload is one with its generic header (RFC 7296 3.2, RFC 2408 3.2).
func payload(next byte, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{next, 0}, uint16(genericLength+len(body))), body...)
}

// deletesInside are INFORMATIONAL requests of IKEv2. The gateway has one at a time: each is sent until it is answered, and the attack is over when it has been held back for a while.
func deletesInside(ctx context.Context, b *bed) (attack, error) {
	const (
		patience = 500 * time.Millisecond // until a request is sent again
		granted  = 1024                   // requests that a peer may make after a rest (ike.Limits.Requests)
		heldBack = 5                      // times that one is sent again after that
		first    = 2                      // message ID: IKE_SA_INIT and IKE_AUTH had those before
	)
	in, err := b.insider(ctx, ike.V2)
	if err != nil {
		return nil, err
	}
	cipher, err := crypto.NewIKECipher(in.keys.suite, in.keys.encryption, in.keys.authenticator)
	if err != nil {
		return nil, err
	}
	answers := make(chan uint32, 1)
	if err := b.station.hand(ctx, in.address, func(d lab.Datagram) error {
		if len(d.Payload) >= headerLength && d.Payload[exchangeAt] == exchangeInformational {
			select {
			case answers <- binary.BigEndian.Uint32(d.Payload[messageIDAt:]):
			default: // one that is waited for comes again
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	id, walk, again, repeated := uint32(first), spiWalk(0), false, 0
	request := func() ([]byte, error) {
		plain := payload(0, walk.body()...)
		h := wire.Header{InitiatorSPI: in.keys.spis[0], ResponderSPI: in.keys.spis[1], Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator, MessageID: id}
		prefix, err := wire.EncryptedPrefix(h, wire.PayloadDelete, len(plain)+cipher.Overhead(len(plain)))
		if err != nil {
			return nil, err
		}
		return cipher.Seal(prefix, prefix, plain, rand.Reader)
	}
	d := in.addresses
	return func(ctx context.Context, messages int) (sent int, err error) {
		for ; sent < messages; sent++ {
			if repeated == heldBack {
				return 0, errDone
			}
			if !again {
				if d.Payload, err = request(); err != nil {
					return sent, err
				}
			}
			if err := b.wire.Send(d, false); err != nil {
				return sent, err
			}
			limit := time.After(patience)
			for waiting := true; waiting; {
				select {
				case answered := <-answers:
					if answered == id {
						id, again, waiting = id+1, false, false
					}
				case <-limit:
					if again, waiting = true, false; id >= first+granted {
						repeated++
					}
				case <-ctx.Done():
					return sent, ctx.Err()
				}
			}
		}
		return sent, nil
	}, nil
}

// deletesInsideV1 are informational exchanges of IKEv1, which nobody answers: they come as fast as the link takes them, each by a message ID of its own.
func deletesInsideV1(ctx context.Context, b *bed) (attack, error) {
	const (
		hashPayload, deletePayload = 8, 12
		informational              = 5
		encrypted                  = 1 // flag
		prf                        = crypto.PRFHMACSHA256
	)
	in, err := b.insider(ctx, ike.V1)
	if err != nil {
		return nil, err
	}
	cipher, err := crypto.NewISAKMPCipher(crypto.EncrAESCBC, in.keys.encryption) // of ikeProposal
	if err != nil {
		return nil, err
	}
	if len(in.last) < headerLength+cipher.BlockSize() {
		return nil, fmt.Errorf("hostile: %s has received no message 6 of main mode", in.name)
	}
	last := in.last[len(in.last)-cipher.BlockSize():]
	id, walk, d := uint32(0), spiWalk(0), in.addresses
	d.From, d.To = netip.AddrPortFrom(in.address, portIKE), netip.AddrPortFrom(gatewayAddress, portIKE)
	return b.volley(func(frame []byte) int {
		id++
		number := binary.BigEndian.AppendUint32(nil, id)
		rest := payload(0, append([]byte{0, 0, 0, 1}, walk.body()...)...)                                                 // in the DOI of IPsec
		plain := append(payload(deletePayload, crypto.PRF(prf, in.keys.authenticator.Bytes(), number, rest)...), rest...) // HASH(1), RFC 2409 5.7
		sealed, _ := cipher.Encrypt(crypto.Hash(prf, last, number)[:cipher.BlockSize()], plain)
		m := make([]byte, headerLength, headerLength+len(sealed))
		binary.BigEndian.PutUint64(m, in.keys.spis[0])
		binary.BigEndian.PutUint64(m[responderAt:], in.keys.spis[1])
		m[nextAt], m[nextAt+1], m[exchangeAt], m[flagsAt] = hashPayload, 0x10, informational, encrypted
		copy(m[messageIDAt:], number)
		binary.BigEndian.PutUint32(m[lengthAt:], uint32(headerLength+len(sealed)))
		d.Payload = append(m, sealed...)
		return copy(frame, b.wire.Frame(d, false))
	}), nil
}
