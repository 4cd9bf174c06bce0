package hostile

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"

	"sallyport/ike"
	"sallyport/perf/lab"
)

// attack.go: what is sent by those who have seen a little of a negotiation, or are part of one.

// Offsets in the header of either version (RFC 2408 3.1, RFC 7296 3.1), and what stands there.
const (
	responderAt   = 8
	nextAt        = 16
	exchangeAt    = 18
	flagsAt       = 19
	messageIDAt   = 20
	lengthAt      = 24
	headerLength  = 28
	genericLength = 4 // octets of a payload's own header

	exchangeMain          = 2 // of IKEv1
	exchangeAuth          = 35
	exchangeInformational = 37
	flagInitiator         = 0x08
	payloadNotify         = 41
	payloadDelete         = 42
	payloadEncrypted      = 46
	payloadFragment       = 132 // of IKEv1
	notifyCookie          = 16390
	protocolESP           = 3
)

// again repeats a message that the loaded peer has sent while it connected, from its port or from others.
func again(number int, hopping bool) func(context.Context, *bed) (attack, error) {
	return func(_ context.Context, b *bed) (attack, error) {
		d, err := b.station.sentBy(&members[0], number)
		if err != nil {
			return nil, err
		}
		if hopping {
			d.To = netip.AddrPortFrom(d.To.Addr(), portNATT)
		}
		pattern, port := b.wire.Frame(d, hopping), uint16(0)
		return b.volley(func(frame []byte) int {
			n := copy(frame, pattern)
			if hopping {
				port++
				binary.BigEndian.PutUint16(frame[udpAt:], 1024+port%(1<<16-1024))
			}
			return n
		}), nil
	}
}

// volley sends what next writes.
func (b *bed) volley(next func(frame []byte) int) attack {
	return func(_ context.Context, messages int) (int, error) { return b.sender.Send(messages, next) }
}

// deletes are unprotected, for each SPI there can be, on the IKE SA of the loaded peer, whose SPIs are seen on the wire.
func deletes(_ context.Context, b *bed) (attack, error) {
	d, err := b.station.sentBy(&members[0], 1) // IKE_AUTH
	if err != nil {
		return nil, err
	}
	const deleteLength = genericLength + 8
	m := make([]byte, headerLength+deleteLength)
	copy(m, d.Payload[:headerLength])
	m[nextAt], m[exchangeAt], m[flagsAt] = payloadDelete, exchangeInformational, flagInitiator
	binary.BigEndian.PutUint32(m[messageIDAt:], 2) // the next one
	binary.BigEndian.PutUint32(m[lengthAt:], uint32(len(m)))
	payload := m[headerLength:]
	payload[3], payload[4], payload[5], payload[7] = deleteLength, protocolESP, 4, 1
	d.Payload = m
	pattern, spi := b.wire.Frame(d, false), uint32(0)
	return b.volley(func(frame []byte) int {
		spi += 0x9e3779b1 // each once
		n := copy(frame, pattern)
		binary.BigEndian.PutUint32(frame[n-4:], spi)
		return n
	}), nil
}

// unreachables are ICMP messages of routers on the way that quote ESP and IKE of the gateway: no host, no port, too long (RFC 792).
func unreachables(_ context.Context, b *bed) (attack, error) {
	const (
		icmpLength = 8
		quote      = 20 + 8
		nextHopMTU = 68 // octets, the least there is (RFC 791)
	)
	codes := []byte{1, 3, 4}
	frame := b.wire.Frame(lab.Datagram{From: netip.AddrPortFrom(members[0].address, 0), To: netip.AddrPortFrom(gatewayAddress, 0), Payload: make([]byte, icmpLength+quote-8)}, false)
	frame[ipAt+9] = 1
	quoted := b.wire.Frame(lab.Datagram{From: netip.AddrPortFrom(gatewayAddress, portIKE), To: netip.AddrPortFrom(members[0].address, portIKE)}, false)
	copy(frame[udpAt+icmpLength:], quoted[ipAt:])
	n := uint32(0)
	return b.volley(func(to []byte) int {
		n++
		length := copy(to, frame)
		message := to[udpAt:length]
		message[0], message[1] = 3, codes[n%3]
		binary.BigEndian.PutUint16(message[2:], 0)
		binary.BigEndian.PutUint32(message[4:], nextHopMTU)
		inner := message[icmpLength:]
		if n&1 == 0 {
			inner[9] = 50
			binary.BigEndian.PutUint32(inner[20:], n) // an SPI
		}
		binary.BigEndian.PutUint16(message[2:], lab.HeaderChecksum(message))
		binary.BigEndian.PutUint32(to[sourceAt:], 198<<24|51<<16|100<<8|n&0xff)
		binary.BigEndian.PutUint16(to[checksumAt:], 0)
		binary.BigEndian.PutUint16(to[checksumAt:], lab.HeaderChecksum(to[ipAt:udpAt]))
		return length
	}), nil
}

// opened are negotiations that an attacker at a peer's address has begun, and that the gateway has answered.
type opened struct {
	mu   sync.Mutex
	spis [][2]uint64 // the last ones
}

const mostOpened = 16

func (o *opened) add(initiator, responder uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.spis = append(o.spis, [2]uint64{initiator, responder}); len(o.spis) > mostOpened {
		o.spis = o.spis[1:]
	}
}

// pick is one of them.
func (o *opened) pick(n uint32) (spis [2]uint64, any bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.spis) == 0 {
		return spis, false
	}
	return o.spis[int(n)%len(o.spis)], true
}

// burst is how many messages follow on one that begins a negotiation.
const burst = 15

// follow begins negotiations at a peer's address and goes on with them by messages that follow writes, as soon as the gateway has answered. A cookie is returned.
func follow(version ike.Version, follow func(b *bed, m *member) func(frame []byte, spis [2]uint64, n uint32) int) func(context.Context, *bed) (attack, error) {
	return func(ctx context.Context, b *bed) (attack, error) {
		m := attackerOf(version)
		first, err := firstMessage(version, b.psk)
		if err != nil {
			return nil, err
		}
		first.From = netip.AddrPortFrom(m.address, portIKE)
		var open opened
		if err := b.station.hand(ctx, m.address, func(d lab.Datagram) error {
			switch {
			case len(d.Payload) < headerLength:
				return nil
			case binary.BigEndian.Uint64(d.Payload[responderAt:]) != 0:
				open.add(binary.BigEndian.Uint64(d.Payload), binary.BigEndian.Uint64(d.Payload[responderAt:]))
				return nil
			}
			if proven := withCookie(first.Payload, d.Payload); proven != nil {
				return b.wire.Send(lab.Datagram{From: first.From, To: first.To, Payload: proven}, false)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		begin, next, n := b.wire.Frame(first, false), follow(b, m), uint32(0)
		return b.volley(func(frame []byte) int {
			if n++; n%(burst+1) != 0 {
				if spis, any := open.pick(n); any {
					return next(frame, spis, n)
				}
			}
			length := copy(frame, begin)
			_, _ = rand.Read(frame[payloadAt : payloadAt+8])
			return length
		}), nil
	}
}

// withCookie is a first message with the cookie that an answer to it demands (RFC 7296 2.6), nil if that demands none.
func withCookie(first, answer []byte) []byte {
	const at = headerLength + 8
	if answer[nextAt] != payloadNotify || len(answer) <= at || binary.BigEndian.Uint16(answer[headerLength+6:]) != notifyCookie {
		return nil
	}
	m := append([]byte{}, answer[:8]...)
	m = append(m, first[8:headerLength]...)
	m = append(m, answer[headerLength:]...)
	m[headerLength], m[nextAt] = first[nextAt], payloadNotify
	m = append(m, first[headerLength:]...)
	binary.BigEndian.PutUint32(m[lengthAt:], uint32(len(m)))
	return m
}

// garbage is IKE_AUTH requests that decrypt to nothing: each makes the gateway compute the keys, once for a negotiation.
func garbage(b *bed, m *member) func(frame []byte, spis [2]uint64, n uint32) int {
	const content = 160
	message := make([]byte, headerLength+genericLength+content)
	message[nextAt], message[nextAt+1], message[exchangeAt], message[flagsAt] = payloadEncrypted, 0x20, exchangeAuth, flagInitiator
	binary.BigEndian.PutUint32(message[messageIDAt:], 1)
	binary.BigEndian.PutUint32(message[lengthAt:], uint32(len(message)))
	binary.BigEndian.PutUint16(message[headerLength+2:], genericLength+content)
	_, _ = rand.Read(message[headerLength+genericLength:])
	pattern := b.wire.Frame(lab.Datagram{From: netip.AddrPortFrom(m.address, portIKE), To: netip.AddrPortFrom(gatewayAddress, portIKE), Payload: message}, false)
	return func(frame []byte, spis [2]uint64, n uint32) int {
		length := copy(frame, pattern)
		binary.BigEndian.PutUint64(frame[payloadAt:], spis[0])
		binary.BigEndian.PutUint64(frame[payloadAt+responderAt:], spis[1])
		binary.BigEndian.PutUint32(frame[length-4:], n)
		return length
	}
}

// fragments are the first ones of messages of IKEv1 that never end.
func fragments(b *bed, m *member) func(frame []byte, spis [2]uint64, n uint32) int {
	const (
		content   = 1000
		numbers   = 60
		numbersAt = 6 // of the payload
	)
	message := make([]byte, headerLength+genericLength+4+content)
	message[nextAt], message[nextAt+1], message[exchangeAt] = payloadFragment, 0x10, exchangeMain
	binary.BigEndian.PutUint32(message[lengthAt:], uint32(len(message)))
	binary.BigEndian.PutUint16(message[headerLength+2:], genericLength+4+content)
	pattern := b.wire.Frame(lab.Datagram{From: netip.AddrPortFrom(m.address, portIKE), To: netip.AddrPortFrom(gatewayAddress, portIKE), Payload: message}, false)
	return func(frame []byte, spis [2]uint64, n uint32) int {
		length := copy(frame, pattern)
		binary.BigEndian.PutUint64(frame[payloadAt:], spis[0])
		binary.BigEndian.PutUint64(frame[payloadAt+responderAt:], spis[1])
		payload := frame[payloadAt+headerLength:]
		of := n / mostOpened // the same for each negotiation in turn
		binary.BigEndian.PutUint16(payload[genericLength:], uint16(1+of/numbers))
		payload[numbersAt] = byte(1 + of%numbers)
		return length
	}
}

// errDone says that an attack has come as far as it can.
var errDone = errors.New("hostile: the attack is over")

// storm is an authenticated peer that rekeys its IKE SA as fast as it can, until the gateway has held it back for a while.
func storm(ctx context.Context, b *bed) (attack, error) {
	const (
		granted  = 512 // rekeys, of two requests each, that a peer may make after a rest (ike.Limits.Requests)
		heldBack = 5   // times that it has to send a request again after that, each after half a second
	)
	m, made, before := attackerOf(ike.V2), 0, 0
	if err := b.connect(ctx, m, prepareLimit); err != nil {
		return nil, err
	}
	return func(ctx context.Context, messages int) (int, error) {
		for range messages {
			switch repeated := b.station.repeated(m); {
			case made < granted:
				made, before = made+1, repeated
			case repeated >= before+heldBack:
				return 0, errDone
			}
			if err := b.station.rekey(ctx, m); err != nil {
				return 0, err
			}
		}
		return messages, nil
	}, nil
}
