package main

import "slices"

// Bits of what the NIC says of packets that come next: op_nic of nic.c.
const (
	opened  = 0x01
	refused = 0x02 // its ICV is wrong
	inPlace = 0x04 // what is forged is decrypted
	bare    = 0x08 // and without what is around the inner packet
	aside   = 0x10 // it comes by the protected port
	cutOff  = 0x20 // bytes are missing at its end
	strange = 0x40 // its userdata is no SPI of ours

	lost  = 0x10 // the NIC sends nothing more for the tunnel
	comes = 0x20 // the tunnel's SA comes while packets are under way
)

// nic has the NIC say of what comes next that it is a tunnel's. So many packets that it is left to send it does not take.
func nic(says byte, t tunnel, wants byte, more ...byte) []byte {
	return slices.Concat([]byte{opNIC, says, wants, byte(t)}, more)
}

// byNIC has what a NIC may say of packets, rightly and wrongly.
func byNIC() map[string][]byte {
	seeds := map[string][]byte{"nic-others": markedOthers(), "nic-frames": markedFrames(), "nic-room": littleRoom(named("card")), "nic-ends": atItsEnd(named("card"))}
	for _, name := range []string{"inline", "inline-cbc", "card", "card6"} {
		t := named(name)
		seeds["nic-opened-"+name] = openedBy(t)
		seeds["nic-errs-"+name] = errs(t)
		seeds["nic-lost-"+name] = lostUnderWay(t)
		seeds["nic-comes-"+name] = comesUnderWay(t)
		seeds["nic-short-"+name] = short(t)
	}
	return seeds
}

// littleRoom is packets with ever more room in front of them: the first ones have what the NIC needs, but for a tag.
func littleRoom(t tunnel) (b []byte) {
	for room := byte(32); room < 40; room++ {
		packet := out(t, false, packet(udp, 60))
		packet[4] = room
		b = append(b, packet...)
	}
	return b
}

// atItsEnd is more packets than the SA may send.
func atItsEnd(t tunnel) (b []byte) {
	for range 80 {
		b = append(b, out(t, false, packet(udp, 60))...)
	}
	return b
}

// content is what stands under ESP, and of what protocol it is.
type content struct {
	next  byte
	bytes []byte
}

func contents(t tunnel) []content {
	datagram := append([]byte{3, 232, 7, 208, 0, 48, 0, 0}, make([]byte, 40)...)
	return []content{
		{4, ipv4(t, 17, 0, datagram)}, {41, ipv6(t, 17, datagram)}, {17, datagram}, {59, datagram}, {4, nil}, {4, ipv4(t, 50, 0, datagram)},
		{4, ipv4(t, 17, 0x2000, datagram)}, {4, ipv4(t, 17, 6, datagram)}, {41, ipv6(t, 44, fragment6(0, 1, datagram))}, {41, ipv6(t, 44, fragment6(48, 0, datagram))},
		{4, ipv6(t, 17, datagram)}, {41, ipv4(t, 17, 0, datagram)},
	}
}

// opensTo is how the NIC that has a tunnel gives its packets to the gateway.
func opensTo(t tunnel) byte {
	if t == named("card") || t == named("card6") {
		return opened | bare
	}
	return opened | inPlace
}

// openedBy is a NIC at work: what it has opened, what it has left as it came, and what it has found forged.
func openedBy(t tunnel) (b []byte) {
	sequence := byte(0)
	for _, c := range contents(t) {
		inside, pad := trailed(t, c.bytes)
		for _, says := range []byte{opensTo(t), 0, opensTo(t) | refused} {
			sequence++
			b = append(append(b, nic(says, t, 0)...), forged(t, 0, sequence, pad, c.next, inside)...)
		}
	}
	return b
}

// errs is a NIC that says what is not so: of packets still encrypted, of those of another form or port, of truncated ones, and of SAs that there are not.
func errs(t tunnel) (b []byte) {
	sequence := byte(100)
	packet := contents(t)[0]
	inside, pad := trailed(t, packet.bytes)
	add := func(says byte, more ...byte) {
		sequence++
		b = append(append(b, nic(says, t, 0, more...)...), forged(t, 0, sequence, pad, packet.next, inside)...)
	}
	for _, form := range []byte{0, inPlace, bare} {
		add(opened | form)
		add(opened | form | aside)
		add(form)
		for _, missing := range []byte{1, 14, 20, 40, 60, 100} {
			add(opened|form|cutOff, missing)
		}
		for _, userdata := range [][]byte{make([]byte, 8), {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x10, 0x27, 0, 0, 0, 0, 0, 0}} {
			add(opened|form|strange, userdata...)
		}
	}
	for _, pad := range []byte{255, 100, 7} { // past the packet
		sequence++
		b = append(append(b, nic(opensTo(t), t, 0)...), forged(t, 0, sequence, pad, packet.next, inside)...)
	}
	return b
}

// lostUnderWay is traffic both ways, of which the NIC does not take all, and then takes none.
func lostUnderWay(t tunnel) (b []byte) {
	body := packet(udp, 200)
	for _, wants := range []byte{0, 2, 0, lost, 0} {
		b = append(b, nic(0, t, wants)...)
		for range 3 {
			b = append(append(b, out(t, false, body)...), out(t, true, body)...)
		}
		b = append(b, out(t, false, packet(udp|dontFragment, 1480))...)
		b = append(b, sealed(opSealed, t, false, 0, 1, body)...)
	}
	return append(b, sas(4, 0, t)...)
}

// markedOthers are packets of SAs that no NIC has, said to be opened, and those of the NIC's while their SA is not there yet, or any more.
func markedOthers() (b []byte) {
	body := packet(udp, 100)
	for i := range tunnels {
		t := tunnel(i)
		b = append(append(b, nic(opened, t, 0)...), sealed(opSealed, t, false, 0, i, body)...)
		b = append(append(b, nic(opened|bare, t, 0)...), forged(named("gcm"), 0, byte(i), 0, 4, ipv4(t, 17, 0, make([]byte, 40)))...)
	}
	for _, name := range []string{"inline", "card"} {
		t := named(name)
		inside, pad := trailed(t, contents(t)[0].bytes)
		for _, what := range []byte{2, 13} { // its SA is gone, its SA is expected
			b = append(b, tables(what, t)...)
			b = append(append(b, nic(opensTo(t), t, 0)...), forged(t, 0, 9, pad, 4, inside)...)
		}
		b = append(b, tables(14, t)...)
	}
	return b
}

// markedFrames is what is no ESP at all, said to be opened, whole and in fragments.
func markedFrames() (b []byte) {
	clear := out(named("gcm"), false, packet(udp, 100))
	for _, t := range []tunnel{named("gcm"), named("inline"), named("card")} {
		b = append(append(b, nic(opened, t, 0)...), clear...)
		b = append(append(b, nic(opened|aside, t, 0)...), frame(1, ipv4Packet(peerWAN, ourWAN, 17, 0, nil, make([]byte, 40)))...)
		b = append(append(b, nic(opened|refused, t, 0)...), raw(1, make([]byte, 30)...)...)
		b = append(append(b, nic(opened, t, 0)...), sealed(opSealed, t, false, 16, 0, packet(udp, 100))...)
		b = append(b, cuts([3]int{0, 4, more}, [3]int{4, 200, 0})...)
	}
	return b
}

// comesUnderWay is an SA that comes between two looks at packets: sound ones, and those that the NIC has found forged.
func comesUnderWay(t tunnel) (b []byte) {
	inside, pad := trailed(t, contents(t)[0].bytes)
	sequence := byte(0)
	for _, form := range []byte{inPlace, bare} {
		for _, says := range []byte{0, opened, refused, opened | refused} {
			for _, queue := range []byte{0, 0x80} { // one is its owner's
				sequence++
				packet := forged(t, 0, sequence, pad, 4, inside)
				packet[0] |= queue
				b = append(append(b, nic(says|form, t, comes)...), packet...)
				b = append(b, tables(15, t)...)
			}
		}
	}
	return b
}

// short is what the NIC has opened, cut off in the inner header or before it, for either worker.
func short(t tunnel) (b []byte) {
	inside, pad := trailed(t, contents(t)[0].bytes)
	packet := forged(t, 0, 1, pad, 4, inside)
	for left := range 21 {
		for _, queue := range []byte{0, 0x80} {
			packet[0], packet[3] = opForge|queue, packet[3]+1
			b = append(append(b, nic(opened|bare|cutOff, t, 0, byte(len(packet)-8-left))...), packet...)
		}
	}
	return b
}
