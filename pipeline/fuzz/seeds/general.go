package main

import "slices"

// general has what no tunnel is needed for, and what happens to tunnels.
func general() map[string][]byte {
	return map[string][]byte{
		"clear":          clearPackets(false),
		"clear-ipv6":     clearPackets(true),
		"fragments":      fragments(false),
		"fragments-ipv6": fragments(true),
		"fragment-flood": flood(),
		"extensions":     extensions(),
		"nat-traversal":  natTraversal(),
		"raw":            rawFrames(),
		"vlan":           vlans(),
		"inject":         injections(),
		"tables":         changes(),
		"wait":           waiting(),
		"early":          early(),
		"explain":        explanations(),
		"path-mtu":       pathMTU(),
		"hub":            hub(),
		"moves":          moves(),
		"limits":         limits(),
		"own":            own(),
		"under-way":      underWay(),
		"interleaved":    interleaved(),
		"left-behind":    leftBehind(),
	}
}

func clearPackets(wide bool) (b []byte) {
	for from := range 8 {
		for to := range 8 {
			r := route{from: from, to: to, fromHost: 9, toHost: byte(9 * (to & 1)), first: 1, second: 0, wan: from != ourNet}
			body := packet(udp+(from+to)%8, 60)
			if from == clearNet {
				body = packet(udp, 1560) // cut for the link
			}
			b = append(b, clear(opClear, r, wide, 0, body)...)
		}
	}
	return b
}

// inPieces is a clear packet for a tunnel and one for nobody, in fragments.
func inPieces(op byte, wide bool, extensions byte, body []byte, list ...[3]int) (b []byte) {
	for _, r := range []route{{from: ourNet, to: secondPeer, fromHost: 5, toHost: 5}, {from: clearNet, to: ourNet, fromHost: 5, toHost: 9, wan: true}} {
		b = append(append(b, clear(op, r, wide, extensions, body)...), cuts(list...)...)
	}
	return b
}

func fragments(wide bool) (b []byte) {
	body := packet(udp, 1420)
	in := func(list ...[3]int) { b = append(b, inPieces(opFragments, wide, 0, body, list...)...) }
	in([3]int{0, 90, more}, [3]int{90, 85, 0})
	in([3]int{90, 85, 0}, [3]int{0, 90, more}) // out of order
	in([3]int{0, 60, more | marked}, [3]int{60, 60, more}, [3]int{120, 55, 0})
	in([3]int{0, 90, more}, [3]int{80, 95, 0}) // overlapping
	in([3]int{0, 90, more}, [3]int{0, 90, more})
	in([3]int{0, 1, more}, [3]int{1, 174, 0}) // tiny
	in([3]int{0, 90, more | odd}, [3]int{90, 0, 0})
	in([3]int{0, 90, more | far}, [3]int{90, 85, far})
	in([3]int{0, 90, more}, [3]int{90, 85, other})
	in([3]int{0, 20, more}, [3]int{20, 20, more}, [3]int{40, 20, more}, [3]int{60, 20, more}, [3]int{80, 20, more}, [3]int{100, 20, more}, [3]int{120, 20, more},
		[3]int{140, 20, more}, [3]int{160, 15, 0}) // too many
	b = append(b, inPieces(opFragments, wide, 0, packet(tcp|syn, 100), [3]int{0, 4, more}, [3]int{4, 6, 0})...)
	b = append(b, opTables, 0x8c, 0) // half of their time passes
	in([3]int{0, 90, more})
	return append(b, opTables, 0xfc, 0)
}

// flood is more fragments than the memory is for, of packets that are never complete.
func flood() (b []byte) {
	for host := range byte(40) {
		r := route{from: clearNet, to: ourNet, fromHost: host, toHost: 9, wan: true}
		b = append(append(b, clear(opFragments|host&1<<7, r, host%3 == 0, 0, packet(udp, 1000))...), cuts([3]int{0, 60, more})...)
	}
	return append(b, inPieces(opFragments, false, 0, packet(udp, 100), [3]int{0, 5, more}, [3]int{5, 5, 0})...)
}

func extensions() (b []byte) {
	for bits := range byte(32) {
		b = append(b, clear(opClear, route{from: ourNet, to: secondPeer, fromHost: 5, toHost: 5, second: tunnel(bits) % tunnel(len(tunnels))}, true, bits, packet(udp, 60))...)
		b = append(b, inPieces(opFragments, true, bits, packet(udp, 200), [3]int{0, 10, more | behind}, [3]int{10, 20, behind})...)
	}
	return b
}

func natTraversal() (b []byte) {
	esp := slices.Concat([]byte{0, 1, 1, 2, 0, 0, 0, 1}, make([]byte, 40)) // tunnel 2
	for how := range byte(8) {
		ike := append([]byte{0, 0, 0, 0}, make([]byte, 28)...)
		for _, payload := range [][]byte{{0xff}, {}, {1, 2, 3}, {0, 0, 0, 0}, ike, esp} {
			b = append(b, datagram(how, payload...)...)
		}
		b = append(append(b, datagram(how|64, esp...)...), cuts([3]int{0, 3, more}, [3]int{3, 200, 0})...)
	}
	b = append(b, datagram(16, esp...)...)
	return append(b, datagram(8, 0xff)...)
}

func rawFrames() (b []byte) {
	arp := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 1, 0, 9}, make([]byte, 6), []byte{10, 1, 0, 1})
	discovery := slices.Concat([]byte{0x33, 0x33, 0xff, 0, 2, 1, 2, 2, 2, 2, 2, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255, 0x20, 1, 0x0d, 0xb8}, make([]byte, 8), []byte{192, 0, 2, 2},
		[]byte{0x20, 1, 0x0d, 0xb8}, make([]byte, 8), []byte{192, 0, 2, 1, 135, 0, 0, 0, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8}, make([]byte, 8), []byte{192, 0, 2, 1})
	options := slices.Concat([]byte{2, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 8, 0, 0x46, 0, 0, 24, 0, 0, 0, 0, 64, 253, 0, 0, 198, 51, 100, 9, 10, 1, 0, 9, 7, 9, 4, 0})
	for _, frame := range [][]byte{arp, discovery, options, options[:20], options[:13], {}} {
		for side := range byte(2) {
			b = append(b, raw(side, frame...)...)
		}
	}
	return b
}

// vlans are frames that no port of the device has: untagged, tagged otherwise, twice, and with a priority alone.
func vlans() (b []byte) {
	to := []byte{2, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2}
	for _, tags := range [][]byte{{0x81, 0, 0, 7, 8, 0}, {0x81, 0, 0, 8, 8, 0}, {0x81, 0, 0xe0, 0, 8, 0}, {0x81, 0, 0, 7, 0x81, 0, 0, 7, 8, 0}, {0x88, 0xa8, 0, 7, 8, 0}, {8, 0}, {0x81, 0}} {
		for side := range byte(2) {
			to[5] = side
			b = append(b, raw(side, slices.Concat(to, tags, []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 1, 0, 9, 198, 51, 100, 9})...)...)
		}
	}
	strip := clear(opClear|stripped, route{from: ourNet, to: clearNet, fromHost: 5, toHost: 5}, false, 0, packet(udp, 60))
	return append(b, strip...)
}

func injections() (b []byte) {
	for kind := range byte(8) {
		b = append(b, opInject, kind)
		if kind&3 == 0 {
			b = append(append(b, word(4)...), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
			continue
		}
		b = append(append(b, 2, 0), packet(icmp, 84)...)
	}
	return b
}

// changes of tables while packets are under way.
func changes() (b []byte) {
	for what := range byte(10) {
		for _, t := range []tunnel{named("gcm"), named("cbc-sha1"), named("bundle"), named("transport6")} {
			b = append(b, out(t, t == named("transport6"), packet(udp, 60))...)
			b = append(b, sealed(opSealed, t, t == named("transport6"), 0, int(t), packet(udp, 80))...)
			b = append(b, tables(what|0x10*byte(t&3), t)...)
			b = append(b, out(t, t == named("transport6"), packet(udp, 60))...)
			b = append(b, opReplay, byte(t))
		}
	}
	return b
}

// waiting packets: for a next hop, for an SA that comes, that never comes, that IKE has given up.
func waiting() (b []byte) {
	send := func(t tunnel) {
		b = append(append(b, out(t, false, packet(udp, 60))...), out(t, true, packet(udp, 60))...)
	}
	b = append(b, tables(3, 0)...)
	send(named("gcm"))
	send(named("ah6"))
	b = append(b, tables(4, 0)...)
	for _, t := range []tunnel{named("gcm"), named("transport"), tunnel(len(tunnels))} { // the last has no SA at all
		b = append(append(b, tables(1, t)...), tables(0x16, t)...)
		send(t)
		b = append(b, tables(8, t)...)
		send(t)
	}
	send(tunnel(len(tunnels) + 2)) // pass-through
	send(tunnel(len(tunnels) + 3)) // stale
	return append(append(b, tables(9, named("gcm"))...), tables(0, named("gcm"))...)
}

// early packets of SAs that come, that come too late and that never do.
func early() (b []byte) {
	for i := range tunnels {
		t := tunnel(i)
		b = append(b, tables(13, t)...)
		for n := range 3 {
			op := byte(opSealed)
			if n == 1 {
				op |= otherWorker
			}
			b = append(b, sealed(op, t, i%2 != 0, 0, n, packet(udp, 80+n))...)
		}
		if i%3 == 2 {
			b = append(b, tables(2, t)...)
		}
		if i%3 != 0 {
			b = append(b, tables(14, t)...)
		}
		b = append(b, opReplay, 0, opReplay|otherWorker, 1)
	}
	return b
}

func explanations() (b []byte) {
	for where := range byte(16) {
		key := []byte{5, 0, 1, 10, 5, 0, 16, 10, 1, 2, 3, 4, 17, 1, 0, 0} // in the machine's byte order
		b = append(b, slices.Concat(tables(10, 0), []byte{where}, key)...)
	}
	return b
}

// pathMTU falls, and packets of the former length follow.
func pathMTU() (b []byte) {
	for i := range tunnels {
		b = append(append(b, tables(11, tunnel(i))...), out(tunnel(i), i%2 != 0, packet(udp, 1400))...)
		b = append(b, out(tunnel(i), i%2 != 0, packet(tcp|dontFragment, 1400))...)
		b = append(b, out(tunnel(i), true, packet(udp, 1260))...) // least IPv6: what it becomes is cut
	}
	return b
}

// hub sends on, into each tunnel, what comes out of others.
func hub() (b []byte) {
	for i := range tunnels {
		one := sealed(opSealed, tunnel(i), i%2 != 0, 0, i, packet(udp, 700))
		one[5+1], one[5+3] = 0x80|5, byte(i+7) // another tunnel's network
		b = append(b, one...)
	}
	return b
}

// sas is a change of SAs: op_sas of fuzz_fastpath.c.
func sas(what, how byte, t tunnel) []byte { return []byte{opSAs, what | how<<3, byte(t)} }

// moves of either end and of the peer's port, between packets.
func moves() (b []byte) {
	for i := range tunnels {
		t := tunnel(i)
		for where := range byte(8) {
			b = append(append(b, sas(0, where, t)...), out(t, i%2 != 0, packet(udp, 300+int(where)))...)
		}
	}
	return b
}

// limits to echo requests, of either IP version, which some packets are.
func limits() (b []byte) {
	for i := range tunnels {
		t := tunnel(i)
		for _, kind := range []byte{8, 16, 0} {
			b = append(b, sas(1, kind, t)...)
			for _, wide := range []bool{false, true} {
				b = append(b, out(t, wide, append(packet(icmp, 90)[:4], kind, 0, 0, 0, 0, 0, 0, 1))...)
				b = append(b, sealed(opSealed, t, wide, 0, i, packet(icmp, 90))...)
			}
		}
	}
	return b
}

// own SAs of the workers come and go.
func own() (b []byte) {
	for i := range tunnels {
		t := tunnel(i)
		for _, what := range []byte{2, 2, 3} {
			for worker := range byte(2) {
				b = append(b, sas(what, worker, t)...)
				other := out(t, i%2 != 0, packet(udp, 300))
				other[0] |= worker << 7
				b = append(b, other...)
			}
		}
	}
	return b
}

// underWay takes SAs away from packets that are half way.
func underWay() (b []byte) {
	for i := range tunnels {
		t := tunnel(i)
		for worker := range byte(2) {
			for _, what := range []byte{4, 5} {
				b = append(b, out(t, false, packet(udp, 60))...)
				b = append(b, sealed(opSealed|worker<<7, t, false, 0, i, packet(udp, 80))...)
				b = append(b, sealed(opSealed, t, true, 0, i, packet(udp, 80))...)
				b = append(b, sas(what, worker, t)...)
			}
			b = append(b, tables(0, t)...)
		}
	}
	return b
}

// interleaved fragments of packets of several SAs, one of which goes before the last come.
func interleaved() (b []byte) {
	list := []tunnel{named("gcm"), named("cbc-sha1"), named("ah"), named("bundle"), named("gcm-udp"), named("wide"), named("job-cbc")}
	for i, t := range list {
		b = append(b, sealed(opSealed, t, false, 7, i, packet(udp, 400))...) // kept
	}
	for _, cut := range [][3]int{{0, 15, more}, {30, 200, 0}, {15, 15, more}} {
		for i, t := range list {
			b = append(append(b, opReplay|byte(i&1)<<7, 0x80|byte(i)), cuts(cut)...)
			if i == 3 && cut[0] == 30 {
				b = append(append(b, sas(4, 0, t)...), sas(0, 1, list[0])...)
			}
		}
	}
	return b
}

// leftBehind has a fragment of one packet taken for the next, so that the peer's packet in transport mode stays in its port until the end.
func leftBehind() []byte {
	return append(sealed(opSealed, named("after"), false, 7, 0, packet(udp, 1400)), sealed(opSealed, named("transport6"), true, 7, 1, packet(udp, 80))...)
}
