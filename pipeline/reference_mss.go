package pipeline

import "encoding/binary"

// clampFor is a packet of an SA with the segment size that its configuration wants; out is the SA that its cell sends with, nil for none.
func (r *reference) clampFor(e Encapsulation, out *referenceOut, ip []byte) []byte {
	mss, headers := e.MSSClamp, ipv4HeaderLen+tcpHeaderLen
	if isIPv6(ip) {
		headers = ipv6HeaderLen + tcpHeaderLen
	}
	if mss == MSSClampAutomatic {
		if out == nil {
			return ip
		}
		key, ok := nextHop(r.routes, out.child.Remote.Addr())
		if _, resolved := r.neighbours[key]; !ok || !resolved {
			return ip
		}
		stays := 0
		if out.child.Transport {
			stays = out.child.outerLen()
		}
		mss = out.child.largest(r.ports[key.Port].MTU, stays) - headers // RFC 6691 section 2
	}
	if mss <= 0 {
		return ip
	}
	return clampMSS(ip, uint16(mss))
}

const tcpHeaderLen = 20 // without options

// clampMSS is a packet of either version with the MSS options of a SYN lowered to mss (RFC 9293 section 3.1).
func clampMSS(ip []byte, mss uint16) []byte {
	at, protocol := ipv6HeaderLen, uint8(0)
	if isIPv6(ip) {
		var body []byte
		protocol, body = ipv6(ip).upper()
		at = len(ip) - len(body)
	} else {
		protocol, at = ipv4(ip).protocol(), ipv4(ip).headerLen()
	}
	if protocol != protocolTCP {
		return ip
	}
	ip = append([]byte(nil), ip...)
	tcp := ip[at:]
	for _, option := range mssOptions(tcp) {
		if binary.BigEndian.Uint16(tcp[option:]) > mss {
			putSummed(tcp, option, mss)
		}
	}
	return ip
}

// mssOptions is where the values of the MSS options of a SYN stand; none behind an option whose length does not fit.
func mssOptions(tcp []byte) (at []int) {
	const syn = 2
	if len(tcp) < tcpHeaderLen || tcp[13]&syn == 0 || len(tcp) < int(tcp[12]>>4)*4 || tcp[12]>>4 < 5 {
		return nil
	}
	options := tcp[tcpHeaderLen : int(tcp[12]>>4)*4]
	for i := 0; i < len(options) && options[i] != 0; {
		if options[i] == 1 {
			i++
			continue
		}
		if i+1 == len(options) || options[i+1] < 2 || i+int(options[i+1]) > len(options) {
			return at
		}
		if options[i] == 2 && options[i+1] == 4 {
			at = append(at, tcpHeaderLen+i+2)
		}
		i += int(options[i+1])
	}
	return at
}

// putSummed writes a 16-bit value at any place of a TCP header and corrects the checksum for each word that changes: a wrong one stays as wrong as it was.
func putSummed(tcp []byte, at int, value uint16) {
	first := at &^ 1
	last := min(first+4, len(tcp))
	words := sum(0, tcp[first:last])
	binary.BigEndian.PutUint16(tcp[at:], value)
	// RFC 1624 equation 3, in multiples of 0xffff because a difference may be negative
	total := uint32(^binary.BigEndian.Uint16(tcp[16:])) + 4*0xffff - words + sum(0, tcp[first:last])
	binary.BigEndian.PutUint16(tcp[16:], fold(total))
}
