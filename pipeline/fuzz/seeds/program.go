package main

import (
	"encoding/binary"
	"slices"
)

// Operations of a program, and bits beside them (operations of LLVMFuzzerTestOneInput).
const (
	opRaw = iota
	opClear
	opSealed
	opReplay
	opInject
	opTables
	opFragments
	opForge
	_
	opUDP
	opSAs
	opNIC = 15

	stripped    = 0x40 // the device takes VLAN tags off
	otherWorker = 0x80
)

// Networks that a clear packet is from and to.
const (
	ourNet = iota
	clearNet
	wanNet
	firstPeer
	secondPeer
	groupNet
	loopback
	everybody
)

// What of a packet is not its addresses: build of frames.c.
const (
	udp = iota
	tcp
	icmp
	sctp
	ipv6InIPv4
	esp
	udpLite
	ospf

	dontFragment = 0x08
	lastHop      = 0x30   // TTL 1
	syn          = 0x80   // TCP with all of its header
	capable      = 0x0200 // of explicit congestion notification: ECT(0)
)

// What is not as it should be in a fragment: cut of frames.c.
const (
	more     = 0x01
	odd      = 0x02
	other    = 0x04
	far      = 0x08
	marked   = 0x10
	behind   = 0x20
	reserved = 0x40
)

func word(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

// packet is the payload of `total` bytes of IPv4 packet, or as much in IPv6 if the operation says so.
func packet(shape, total int) []byte {
	l4 := make([]byte, 60)
	copy(l4, []byte{0x12, 0x34, 0, 80, 0, 16, 0, 0})
	n := 8
	if shape&syn != 0 {
		copy(l4[12:], []byte{0x70, 2, 0x10, 0, 0, 0, 0, 0, 2, 4, 5, 180, 1, 1, 1, 0}) // MSS 1460
		n = 60
	}
	return slices.Concat(word(shape), word(total-20), l4[:min(n, total-20)])
}

// route is where a clear packet comes from and goes to: networks, the last bytes of addresses, tunnels of the networks.
type route struct {
	from, to         int
	fromHost, toHost byte
	first, second    tunnel
	wan              bool // arrives on the unprotected side
}

// clear is a packet as a host sends it, with as many IPv6 extension headers as the bits of `extensions`, if wide.
func clear(op byte, r route, wide bool, extensions byte, body []byte) []byte {
	where, shape := byte(r.from|r.to<<3), byte(64)
	if r.wan {
		where |= 0x80
	}
	if wide {
		shape |= 0x80
		body = append(slices.Clip(body), extensions)
	}
	return slices.Concat([]byte{op, where, r.fromHost, r.toHost, shape, byte(r.first), byte(r.second)}, body)
}

// out is a packet of ours into a tunnel.
func out(t tunnel, wide bool, body []byte) []byte {
	return clear(opClear, route{from: ourNet, to: secondPeer, fromHost: 5, toHost: 5, second: t}, wide, 0, body)
}

// sealed is a packet of the peer's, in the tunnel, harmed in way `how` at `where`.
func sealed(op byte, t tunnel, wide bool, how byte, where int, body []byte) []byte {
	last := byte(t)
	if wide {
		last |= 0x80
		body = append(slices.Clip(body), 0)
	}
	return slices.Concat([]byte{op, how}, word(where), []byte{77, last}, []byte{5, 5, 0}, body)
}

// cuts are fragments of a packet, at offsets and of lengths in units of 8 bytes.
func cuts(list ...[3]int) []byte {
	b := []byte{byte(len(list) - 1)}
	for _, c := range list {
		b = append(b, byte(c[0]), byte(c[1]), byte(c[2]))
	}
	return b
}

// Bits of a forged packet's shape: hostile.c.
const (
	withOptions = 0x04
	moved       = 0x08
	summed      = 0x10
	padded      = 0x20
	inFragments = 0x40
	damaged     = 0x80
)

// forged is contents that stand under ESP or AH as they are. The last two bytes of ESP's are `pad` and `next`.
func forged(t tunnel, shape, sequence, pad, next byte, contents []byte) []byte {
	block := t.block()
	if t.ah() {
		block = 4
	} else {
		contents = append(slices.Clip(contents), 0, 0)
	}
	length := max(4, (len(contents)+block-1)/block*block)
	contents = append(slices.Clip(contents), make([]byte, length-len(contents))...)
	return slices.Concat([]byte{opForge, byte(t), shape, sequence}, word(length/4-1), []byte{pad, next}, contents)
}

// datagram is UDP for port 4500.
func datagram(how byte, payload ...byte) []byte {
	b := []byte{opUDP, how, byte(len(payload))}
	if how&16 != 0 {
		b = append(b, 9)
	}
	return append(b, payload...)
}

func tables(what byte, t tunnel) []byte { return []byte{opTables, what, byte(t)} }

// frame is a packet of either IP version as it is, for a port of ours, with the tag that the port has.
func frame(side byte, ip []byte) []byte {
	kind := []byte{8, 0}
	if ip[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	f := slices.Concat([]byte{2, 0, 0, 0, 0, side, 2, 2, 2, 2, 2, 2}, kind, ip)
	return slices.Concat([]byte{opRaw, side, 64}, word(len(f)), f)
}

// raw is a frame as it is, without a VLAN tag of ours.
func raw(side byte, frame ...byte) []byte {
	return slices.Concat([]byte{opRaw, side, 128 | 64}, word(len(frame)), frame)
}

// ---- packets as they stand on the wire ----

func ipv4Packet(from, to [4]byte, protocol byte, field int, options, payload []byte) []byte {
	header := 20 + len(options)
	p := slices.Concat([]byte{0x40 | byte(header/4), 0}, word(header+len(payload)), []byte{0, 9}, word(field), []byte{64, protocol, 0, 0}, from[:], to[:], options, payload)
	sum := uint32(0)
	for i := 0; i < header; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	return p
}

// ipv6Packet is between the IPv6 addresses that stand for two of IPv4.
func ipv6Packet(from, to [4]byte, next byte, payload []byte) []byte {
	p := slices.Concat([]byte{0x60, 0, 0, 0}, word(len(payload)), []byte{next, 64})
	for _, a := range [][4]byte{from, to} {
		p = append(append(p, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0), a[:]...)
	}
	return append(p, payload...)
}
