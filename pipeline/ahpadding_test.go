package pipeline

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
)

// Offsets in an AH header, in bytes (RFC 4302 section 2).
const (
	ahReservedAt = 2
	ahICVAt      = 12
)

// sealedAgain gives a packet with AH by HMAC-SHA-256 behind headers of so many bytes the ICV that is right for it as it is now. It is
// written out here, apart from package crypto, which the reference has its ICVs from.
func sealedAgain(child ChildSA, ip []byte, headers int) []byte {
	covered := slices.Clone(ip)
	if isIPv6(ip) {
		clear(covered[:4]) // traffic class and flow label; the hop limit
		covered[0], covered[7] = 0x60, 0
	} else {
		for _, at := range []int{1, 6, 7, 8, 10, 11} { // TOS, flags and fragment offset, TTL, checksum
			covered[at] = 0
		}
	}
	icv := headers + ahICVAt
	clear(covered[icv : icv+16])
	mac := hmac.New(sha256.New, child.Keymat.Bytes())
	mac.Write(covered)
	ip = slices.Clone(ip)
	copy(ip[icv:], mac.Sum(nil)[:16])
	return ip
}

// RFC 4302 section 2.3: the reserved field is zero in what is sent. What others have there is covered by the ICV and means nothing.
func TestAHReserved(t *testing.T) {
	for _, wide := range []bool{false, true} {
		for _, f := range []form{{ah: "sha256", outer6: wide}, {ah: "sha256", transport: true, outer6: wide}, {suite: "aes128gcm16", ah: "sha256", outer6: wide}} {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
			version := f.versions()[0]
			r.outbound(r.formed(f, false))
			sent := r.wantForward(lan, fromLAN(inner(version, 64, true)), wan)[etherHeaderLen:]
			headers := ipv4HeaderLen
			if wide {
				headers = ipv6HeaderLen
			}
			if reserved := sent[headers+ahReservedAt:][:2]; reserved[0] != 0 || reserved[1] != 0 {
				t.Errorf("%s: % x is sent in the reserved field", f, reserved)
			}
			child := r.formed(f, true)
			near := r.inbound(child)
			if child.AH != nil {
				child.Keymat = child.AH.Keymat
			}
			for bit := range 16 {
				near.sequence++
				p := near.encapsulate(inner(version, 64, false), near.sequence)
				binary.BigEndian.PutUint16(p[headers+ahReservedAt:], 1<<bit)
				r.wantDrop(wan, fromWAN(slices.Clone(p)), "auth_failed")
				r.wantForward(wan, fromWAN(sealedAgain(child, p, headers)), lan)
			}
		}
	}
}

// RFC 4302 section 3.3.3.2.1: AH is a multiple of 4 bytes over IPv4 and of 8 over IPv6. Linux takes 8 over IPv4 too unless it is told not to, and fills the difference
// with what it likes, which the ICV covers: that is accepted, and nothing longer or shorter, and over IPv6 no other length than the one that is right.
func TestAHPaddingOfOthers(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	for _, c := range []struct {
		form    form
		ours    int // bytes of AH that are sent
		padding map[int]string
	}{
		{form{ah: "sha256"}, 28, map[int]string{-4: "ah_length", 0: "", 4: "", 8: "ah_length", 12: "ah_length"}},
		{form{ah: "sha256", transport: true}, 28, map[int]string{0: "", 4: "", 8: "ah_length"}},
		{form{ah: "sha256", outer6: true}, 32, map[int]string{-4: "ah_length", 0: "", 4: "ah_length", 8: "ah_length"}},
	} {
		headers, version := ipv4HeaderLen, c.form.versions()[0]
		if c.form.outer6 {
			headers = ipv6HeaderLen
		}
		r.outbound(r.formed(c.form, false))
		sent := r.wantForward(lan, fromLAN(inner(version, 64, true)), wan)[etherHeaderLen:]
		if got := 8 + 4*int(sent[headers+1]); got != c.ours {
			t.Errorf("%s: AH of %d bytes is sent, want %d", c.form, got, c.ours)
		}
		child := r.formed(c.form, true)
		near := r.inbound(child)
		for more, reason := range c.padding {
			near.sequence++
			p := near.encapsulate(inner(version, 64, false), near.sequence)
			end := headers + c.ours
			if more < 0 {
				p = slices.Delete(p, end+more, end)
			}
			for range more {
				p = slices.Insert(p, end, byte(r.random.Uint32()))
			}
			p[headers+1] = byte((c.ours+more)/4 - 2)
			p = sealedAgain(child, lead(p, headers, protocolAH), headers)
			if reason != "" {
				r.wantDrop(wan, fromWAN(p), reason)
				continue
			}
			for at := headers + ahICVAt + 16; at < end+more; at++ {
				forged := slices.Clone(p)
				forged[at] ^= 1
				r.wantDrop(wan, fromWAN(forged), "auth_failed")
			}
			r.wantForward(wan, fromWAN(p), lan)
		}
	}
}
