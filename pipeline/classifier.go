package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"

	"sallyport/policy"
)

// build turns the policy into flat arrays for one call of C, which copies them. It may take a second and holds no lock.
func (d *Dataplane) build(p *Prepared, cells []uint16, ike map[string]bool) (*C.struct_sp_snapshot, error) {
	spd := p.next.spd
	rules, rules6, entries := classifier(spd, p.filters, cells)
	addresses, addresses6 := d.addressesToC(p.next.own)
	exemptions := exemptionsToC(spd, p.filters)
	hops, hops6 := d.hopsToC(p.next.routes)
	var pin runtime.Pinner
	defer pin.Unpin()
	config := C.struct_sp_snapshot_config{
		n_entries: C.uint32_t(len(entries)), n_routes: C.uint32_t(len(hops)), n_addresses: C.uint32_t(len(addresses)),
		n_exemptions: C.uint32_t(len(exemptions)),
		rules:        C.struct_sp_rules{rule: pinned(&pin, rules), n: C.uint32_t(len(rules))},
		rules6:       C.struct_sp_rules{rule: pinned(&pin, rules6), n: C.uint32_t(len(rules6))},
		entries:      pinned(&pin, entries), routes: pinned(&pin, hops), addresses: pinned(&pin, addresses),
		n_routes6: C.uint32_t(len(hops6)), n_addresses6: C.uint32_t(len(addresses6)),
		routes6: pinned(&pin, hops6), addresses6: pinned(&pin, addresses6),
		exemptions:      pinned(&pin, exemptions),
		default_verdict: C.SP_VERDICT_BLOCK,
	}
	for i := range d.cfg.Ports {
		if on, said := ike[d.cfg.Ports[i].Name]; said && !on {
			config.ports_without_ike |= 1 << d.cPort(i)
		}
	}
	if spd.DefaultAction == policy.ActionPermit {
		config.default_verdict = C.SP_VERDICT_PERMIT
	}
	text := make([]byte, errorTextLen)
	built := C.sp_snapshot_build(d.c, &config, (*C.char)(unsafe.Pointer(&text[0])), errorTextLen)
	if built == nil {
		return nil, fmt.Errorf("pipeline: policy %q: %s", spd.Policy, cString(text))
	}
	return built, nil
}

// classifier expands the entries: every entry becomes a verdict, and a rule of its IP version for each pair of boxes of
// its addresses.
func classifier(spd *policy.SPD, filters *filterSlots, cells []uint16) (rules, rules6 []C.struct_sp_rule, entries []C.struct_sp_entry) {
	for i := range spd.Entries {
		e := &spd.Entries[i]
		entries = append(entries, C.struct_sp_entry{
			counter:  C.uint32_t(filters.byID[e.ID].slot),
			cell:     C.uint16_t(cells[i]),
			verdict:  verdictToC(e),
			protocol: C.uint8_t(e.Protocol),
			fallback: C.uint8_t(flag(e.Fallback)),
		})
		if e.Source.Is4() {
			rules = appendRules(rules, e, i)
		} else {
			rules6 = appendRules(rules6, e, i)
		}
	}
	return rules, rules6, entries
}

func appendRules(rules []C.struct_sp_rule, e *policy.Entry, entry int) []C.struct_sp_rule {
	destinations := boxes(e.Destination)
	for _, source := range boxes(e.Source) {
		for _, destination := range destinations {
			rules = append(rules, C.struct_sp_rule{
				source_first: source.first.toC(), source_last: source.last.toC(),
				destination_first: destination.first.toC(), destination_last: destination.last.toC(),
				source_port_first: C.uint16_t(e.SourcePort.First), source_port_last: C.uint16_t(e.SourcePort.Last),
				destination_port_first: C.uint16_t(e.DestinationPort.First), destination_port_last: C.uint16_t(e.DestinationPort.Last),
				protocol: C.uint8_t(e.Protocol),
				roles:    C.uint8_t(entryRoles(e)),
				entry:    C.uint32_t(entry),
			})
		}
	}
	return rules
}

func (a address) toC() (words [4]C.uint32_t) {
	for i, word := range a {
		words[i] = C.uint32_t(word)
	}
	return words
}

// Roles as the classifier sees them: of the receiving port, or local for packets that the gateway makes itself, which come
// from the protected side of the IPsec boundary (RFC 4301 section 3.1). Same bits as enum sp_role.
const (
	roleProtected   = 1
	roleUnprotected = 2
	roleLocal       = 4
)

// entryRoles is the set of roles an entry speaks for.
func entryRoles(e *policy.Entry) uint8 {
	var roles uint8
	if e.Ports&policy.PortsLAN != 0 {
		roles |= roleProtected | roleLocal
	}
	if e.Ports&policy.PortsWAN != 0 {
		roles |= roleUnprotected
	}
	return roles
}

// portGroup is the port role that filters see for a role of the data plane.
func portGroup(role uint8) policy.PortGroup {
	if role == roleUnprotected {
		return policy.PortsWAN
	}
	return policy.PortsLAN
}

func verdictToC(e *policy.Entry) C.uint8_t {
	switch e.Verdict {
	case policy.VerdictPermit:
		return C.SP_VERDICT_PERMIT
	case policy.VerdictProtect:
		return C.SP_VERDICT_PROTECT
	case policy.VerdictRequire:
		if e.Passthrough {
			return C.SP_VERDICT_PASSTHROUGH
		}
		return C.SP_VERDICT_REQUIRE
	case policy.VerdictStale:
		return C.SP_VERDICT_STALE
	}
	return C.SP_VERDICT_BLOCK
}

func (d *Dataplane) addressesToC(own addresses) (all []C.struct_sp_own_address, all6 []C.struct_sp_own_address6) {
	for i := range own {
		port := d.cPort(i)
		for _, a := range own[i] {
			if a.Addr().Is4() {
				all = append(all, C.struct_sp_own_address{address: ipv4Number(a.Addr()), port: port, bits: C.uint8_t(a.Bits())})
			} else {
				all6 = append(all6, C.struct_sp_own_address6{address: ipv6Bytes(a.Addr()), port: port})
			}
		}
	}
	return all, all6
}

// hopsToC is the routes of each IP version.
func (d *Dataplane) hopsToC(routes []hop) (hops []C.struct_sp_route, hops6 []C.struct_sp_route6) {
	for _, r := range routes {
		port, bits := d.cPort(r.port), C.uint8_t(r.to.Bits())
		if r.to.Addr().Is4() {
			to := C.struct_sp_route{prefix: ipv4Number(r.to.Addr()), bits: bits, port: port}
			if r.via.IsValid() {
				to.next_hop = ipv4Number(r.via)
			}
			hops = append(hops, to)
			continue
		}
		to := C.struct_sp_route6{prefix: ipv6Bytes(r.to.Addr()), bits: bits, port: port}
		if r.via.IsValid() {
			to.next_hop = ipv6Bytes(r.via)
		}
		hops6 = append(hops6, to)
	}
	return hops, hops6
}

// pinned is a pointer to the first element that C may follow until the pinner lets go; nil for an empty slice.
func pinned[T any](pin *runtime.Pinner, s []T) *T {
	if len(s) == 0 {
		return nil
	}
	pin.Pin(&s[0])
	return &s[0]
}
