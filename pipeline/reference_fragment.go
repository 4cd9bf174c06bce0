package pipeline

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"sallyport/pmd/mempool"
)

// The reference for fragments. It keeps those that wait as DPDK's rte_ip_frag does: it adds up lengths, and looks for gaps and overlaps only once as many bytes are there as the last
// fragment promises. A packet has at most eight fragments, six of them neither the first nor the last.

// fragmentKey is what all fragments of a packet have in common.
type fragmentKey struct {
	source, destination netip.Addr
	id                  uint32
	protocol            uint8 // IPv4; 0 for IPv6, which tells packets apart without it
	port, cell          int
}

// piece is a fragment.
type piece struct {
	header   []byte // in front of the payload, without an IPv6 fragment header
	payload  []byte
	offset   int
	more     bool
	protocol uint8 // of the payload's first header
	id       uint32
}

// partial is a packet of which some fragments are missing.
type partial struct {
	pieces []piece
	since  time.Duration
}

// whole is a packet that arrived in fragments: what it takes to send it on as it came.
type whole struct {
	ip      []byte
	others  int // fragments but one
	largest int // bytes of the largest, headers included
	header  int // bytes in front of the fragment header, IPv6 only
	id      uint32
}

func (p *piece) length() int {
	n := len(p.header) + len(p.payload)
	if isIPv6(p.header) {
		n += fragmentHeaderLen
	}
	return n
}

// isFragment reports what parseIPv4 and parseIPv6 say of a sound fragment.
func isFragment(reason string) bool { return reason == "fragment" }

func parseIP(ip []byte) ([]byte, string) {
	if isIPv6(ip) {
		return parseIPv6(ip)
	}
	return parseIPv4(ip)
}

// takeApart reads a fragment that was parsed.
func takeApart(ip []byte) (p piece, reason string) {
	if !isIPv6(ip) {
		f := ipv4(ip)
		n := f.headerLen()
		return piece{header: ip[:n:n], payload: ip[n:], offset: 8 * int(f.fragment()&fragmentOffset), more: f.fragment()&flagMoreFragments != 0,
			protocol: f.protocol(), id: uint32(binary.BigEndian.Uint16(ip[4:]))}, ""
	}
	if ipv6(ip).source().IsMulticast() {
		return p, "bad_source"
	}
	n := ipv6(ip).fragmentHeader()
	field := binary.BigEndian.Uint16(ip[n+2:])
	return piece{header: ip[:n:n], payload: ip[n+fragmentHeaderLen:], offset: int(field &^ 7), more: field&1 != 0, protocol: ip[n],
		id: binary.BigEndian.Uint32(ip[n+4:])}, ""
}

// unsound is why a fragment cannot be.
func (p *piece) unsound() string {
	switch {
	case len(p.payload) == 0, p.more && len(p.payload)%8 != 0:
		return "fragment_length"
	case len(p.header)+p.offset+len(p.payload) > 65535:
		return "fragment_overrun"
	}
	return ""
}

// hides is why a fragment keeps headers from those who must see them (RFC 1858, RFC 3128, RFC 7112).
func (p *piece) hides() string {
	least := map[uint8]int{protocolTCP: 20, 132: 12, 33: 12, 59: 0}
	protocol, rest := p.protocol, p.payload
	if !isIPv6(p.header) {
		if p.offset == 0 && len(rest) < least[protocol] || p.offset == 8 && protocol == protocolTCP {
			return "fragment_tiny"
		}
		return ""
	}
	if p.offset > 0 {
		return ""
	}
	for protocol == nextHopByHop || protocol == nextRouting || protocol == nextDestination {
		if len(rest) < 8 || len(rest) < 8+8*int(rest[1]) {
			return "fragment_tiny"
		}
		protocol, rest = rest[0], rest[8+8*int(rest[1]):]
	}
	n, ok := least[protocol]
	if !ok {
		n = 8
	}
	switch {
	case protocol == nextFragment:
		return "ipv6_extension"
	case len(rest) < n:
		return "fragment_tiny"
	}
	return ""
}

// reassemble adds a fragment to its packet, and returns that if it is complete. Otherwise end is what became of the fragment.
func (r *reference) reassemble(port, cell int, ip []byte) (w *whole, end outcome) {
	p, reason := takeApart(ip)
	for _, flaw := range []func() string{p.unsound, p.hides} {
		if reason == "" {
			reason = flaw()
		}
	}
	if reason != "" {
		return nil, dropped(reason)
	}
	key := fragmentKey{id: p.id, port: port, cell: cell}
	if isIPv6(ip) {
		key.source, key.destination = ipv6(ip).source(), ipv6(ip).destination()
	} else {
		key.source, key.destination, key.protocol = ipv4(ip).source(), ipv4(ip).destination(), p.protocol
	}
	waiting := r.fragments[key]
	if waiting == nil {
		waiting = &partial{since: r.now}
		r.fragments[key] = waiting
	}
	done, failed := waiting.add(p)
	if !done {
		return nil, outcome{Disposition: packetReassembling}
	}
	delete(r.fragments, key)
	if failed == "" {
		w, failed = waiting.join()
	}
	if failed != "" {
		return nil, outcome{Disposition: packetDropped, Reason: failed, With: len(waiting.pieces) - 1}
	}
	return w, outcome{}
}

// add reports whether the packet is complete, or why it never will be.
func (w *partial) add(p piece) (done bool, failed string) {
	place := func(p piece) int { // of the first, the last, or one of the others
		switch {
		case p.offset == 0:
			return 0
		case !p.more:
			return 1
		}
		return 2
	}
	taken := [3]int{}
	have, want := 0, -1
	for _, q := range append(w.pieces, p) {
		taken[place(q)]++
		have += len(q.payload)
		if place(q) == 1 {
			want = q.offset + len(q.payload)
		}
	}
	w.pieces = append(w.pieces, p)
	switch {
	case taken[0] > 1, taken[1] > 1, taken[2] > 6:
		return true, w.wrong()
	case want < 0 || have < want:
		return false, ""
	case have > want || taken[0] == 0 || !w.contiguous():
		return true, w.wrong()
	}
	return true, ""
}

// sorted is the fragments by offset.
func (w *partial) sorted() []piece {
	return slices.SortedStableFunc(slices.Values(w.pieces), func(a, b piece) int { return a.offset - b.offset })
}

func (w *partial) contiguous() bool {
	end := 0
	for _, p := range w.sorted() {
		if p.offset != end {
			return false
		}
		end += len(p.payload)
	}
	return true
}

func (w *partial) wrong() string {
	for i, a := range w.pieces {
		for j, b := range w.pieces {
			if i != j && a.offset <= b.offset && (b.offset < a.offset+len(a.payload) || !a.more) {
				return "fragment_overlap"
			}
		}
	}
	return "fragment_count"
}

// join puts the fragments together under the header of the first one.
func (w *partial) join() (*whole, string) {
	first := w.sorted()[0]
	ip := slices.Clone(first.header)
	result := &whole{others: len(w.pieces) - 1, header: len(first.header), id: first.id}
	class, notCapable := trafficClassOf(ip), false
	for _, p := range w.sorted() {
		ip = append(ip, p.payload...)
		result.largest = max(result.largest, p.length())
		switch trafficClassOf(p.header) & ecnMask {
		case markCE: // RFC 3168 section 5.3
			class |= markCE
		case notECT:
			notCapable = true
		}
	}
	switch {
	case len(ip) > 65535:
		return nil, "fragment_overrun"
	case class&ecnMask == markCE && notCapable:
		return nil, "ecn"
	case mempool.Headroom+etherHeaderLen+len(ip)+growth > 65535:
		return nil, "fragment_too_long"
	}
	if isIPv6(ip) {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6HeaderLen))
		ip[ipv6(first.header).nextAt(len(first.header))] = first.protocol
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[6:], ipv4(ip).fragment()&flagDontFragment)
	}
	result.ip = withClass(ip, class)
	return result, ""
}

// cut is a packet as fragments that fit into room bytes; none if it may not be cut.
func (j *journey) cut(ip []byte, room int) [][]byte {
	fixed := isIPv6(ip) || ipv4(ip).fragment()&flagDontFragment != 0
	if fixed && (j.whole == nil || j.whole.largest > leastAsked(ip, room)) {
		return nil
	}
	if j.whole != nil {
		room = min(room, j.whole.largest)
	}
	if isIPv6(ip) {
		return cutIPv6(ip, room, j.whole.header, j.whole.id)
	}
	return cutIPv4(ip, room)
}

// leastAsked is the size that the sender of a packet is asked for where there is room for so many bytes.
func leastAsked(ip []byte, room int) int {
	if isIPv6(ip) {
		return max(room, ipv6MinMTU) // RFC 2473 section 7.1
	}
	return room
}

// cutsAfter reports whether a packet that is too long for the path may become an outer packet, which is cut then. What no router
// may cut and came in fragments does not: whole it would be too long for a link behind the tunnel.
func (c *ChildSA) cutsAfter(j *journey) bool {
	fixed := isIPv6(j.ip) || ipv4(j.ip).fragment()&flagDontFragment != 0
	least := isIPv6(j.ip) && len(j.ip) <= ipv6MinMTU // there are no smaller ones to ask for
	switch {
	case c.Transport:
		return least || !fixed
	case fixed && j.whole != nil:
		return false
	}
	return least || c.Encapsulation.FragmentAfter && c.Encapsulation.outerFields(j.ip).df == 0
}

// wrapAndCut is wrap, the outer packet in fragments of at most mtu bytes.
func (sa *referenceOut) wrapAndCut(inner []byte, sequence uint64, padded, mtu int) [][]byte {
	cuttable := *sa
	cuttable.child.Encapsulation.DF = DFClear
	outer := cuttable.wrap(inner, sequence, padded)
	if isIPv6(outer) {
		return cutIPv6(outer, mtu, max(ipv6HeaderLen, sa.child.stays(inner)), sa.child.SPI^uint32(sequence))
	}
	return cutIPv4(outer, mtu)
}

func cutIPv4(ip ipv4, room int) (list [][]byte) {
	rest := ip.payload()
	header := ip[:ip.headerLen():ip.headerLen()]
	for offset := 0; len(rest) > 0; {
		n := min((room-len(header))&^7, len(rest))
		f := ipv4(append(slices.Clone(header), rest[:n]...))
		rest = rest[n:]
		field := ip.fragment()&flagDontFragment | uint16(offset/8)
		if len(rest) > 0 {
			field |= flagMoreFragments
		}
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[6:], field)
		setHeaderChecksum(f)
		list = append(list, f)
		if offset == 0 {
			header = copiedOptions(header)
		}
		offset += n
	}
	return list
}

// copiedOptions is the header of fragments other than the first (RFC 791 section 3.1).
func copiedOptions(header ipv4) ipv4 {
	options := header[ipv4HeaderLen:]
	h := slices.Clone(header[:ipv4HeaderLen])
	for len(options) > 0 && options[0] != 0 {
		n := 1
		if options[0] != 1 {
			n = int(options[1])
		}
		if options[0]&0x80 != 0 {
			h = append(h, options[:n]...)
		}
		options = options[n:]
	}
	for len(h)%4 != 0 {
		h = append(h, 0)
	}
	h[0] = 0x40 | byte(len(h)/4)
	return h
}

func cutIPv6(ip ipv6, room, header int, id uint32) (list [][]byte) {
	rest := ip[header:]
	for offset := 0; len(rest) > 0; {
		n := min((room-header-fragmentHeaderLen)&^7, len(rest))
		f := slices.Clone(ip[:header])
		at := ip.nextAt(header)
		field := uint16(offset)
		if n < len(rest) {
			field |= 1
		}
		f = append(f, f[at], 0)
		f = binary.BigEndian.AppendUint16(f, field)
		f = binary.BigEndian.AppendUint32(f, id)
		f = append(f, rest[:n]...)
		f[at] = nextFragment
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-ipv6HeaderLen))
		list, rest, offset = append(list, f), rest[n:], offset+n
	}
	return list
}
