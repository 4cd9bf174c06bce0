package softnic_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sallyport/crypto"
	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
	"sallyport/pmd/ethdev"
)

// offered are suites that a NIC has if none are named.
func offered() []crypto.Suite {
	var list []crypto.Suite
	for _, bits := range []int{128, 256} {
		list = append(list, crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: bits})
		for _, integ := range []crypto.IntegID{crypto.IntegHMACSHA1, crypto.IntegHMACSHA256} {
			list = append(list, crypto.Suite{Encr: crypto.EncrAESCBC, KeyBits: bits, Integ: integ})
		}
	}
	return list
}

// sa is an SA of a suite between the ends.
func sa(s crypto.Suite, ipv6 bool) program.SA {
	local, remote, port := local4, remote4, uint16(4500)
	if ipv6 {
		local, remote = local6, remote6
	}
	return program.SA{Suite: s, Keymat: keymat(s), SPI: 0x1234567, Source: netip.AddrPortFrom(local, port), Destination: netip.AddrPortFrom(remote, port),
		Userdata: 0x1234567, TTL: 64, Window: 64}
}

// TestLibrariesSeeTheNIC: the definitions here win in this program's C, and in libraries.
func TestLibrariesSeeTheNIC(t *testing.T) {
	r := newRig(t, softnic.Options{InlineCrypto: true})
	if !program.Offers(uint16(r.port)) {
		t.Error("no security context, or no offload SECURITY in what the port says of itself")
	}
	for _, outbound := range []bool{false, true} {
		if n := program.Algorithms(uint16(r.port), false, outbound, false); n != 4 {
			t.Errorf("outbound %v: librte_security finds %d algorithms for inline crypto, expected GCM, CBC and two HMACs", outbound, n)
		}
		if n := program.Algorithms(uint16(r.port), true, outbound, false); n != 0 {
			t.Errorf("outbound %v: librte_security finds inline protocol, which is not offered", outbound)
		}
	}
}

// TestConfigure: librte_ethdev, which checks what a port is configured with against what it offers, sees the NIC too.
func TestConfigure(t *testing.T) {
	wire := wires(t, "configured", 1)
	port, err := ethdev.FromRings("configured", wire, wire)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, port.Close()) })
	security := func() error {
		return port.Configure(1, 1, ethdev.OptRxOffloads(program.RxSecurity), ethdev.OptTxOffloads(program.TxSecurity))
	}
	if security() == nil {
		t.Fatal("a port without a NIC was configured with inline IPsec")
	}
	check(t, port.Configure(1, 1))
	nic, err := softnic.Attach(uint16(port), 1, both)
	if err != nil {
		t.Fatal(err)
	}
	check(t, security())
	check(t, nic.Detach())
	if security() == nil {
		t.Error("a port that has lost its NIC was configured with inline IPsec")
	}
}

// TestInlineCrypto has packets of every suite encrypted and decrypted in every frame, and compares them with the reference.
func TestInlineCrypto(t *testing.T) {
	r := newRig(t, softnic.Options{InlineCrypto: true})
	for i, suite := range offered() {
		for form := range 12 {
			ipv6, udp, tags := form&1 != 0, form&2 != 0, form>>2
			out := sa(suite, ipv6)
			out.SPI, out.UDPEncap, out.Outbound = uint32(0x1000+100*i+form), udp, true
			t.Run(fmt.Sprintf("%s IPv6 %v UDP %v tags %d", suite, ipv6, udp, tags), func(t *testing.T) {
				r := *r
				r.t = t
				bothWays(&r, out, tags)
			})
		}
	}
}

func bothWays(r *rig, out program.SA, tags int) {
	t, in := r.t, out
	in.Outbound, in.Userdata = false, 42
	if tags == 1 {
		in.VLAN = firstVLAN
	}
	sender := r.open(out)
	r.open(in)
	for _, length := range []int{0, 1, 46, 1300} {
		payload := inner(length)
		sealed := outer(out, tags, seal(t, out, 7, payload, 4))
		esp := unsealed(t, out, 7, payload, 4)
		clear := outer(out, tags, esp)
		if wire, _ := r.send(sender, clear); len(wire) != 1 || !bytes.Equal(wire[0], sealed) {
			t.Fatalf("%d octets sent\n%x\nexpected\n%x", length, wire, sealed)
		}
		got := r.receive(sealed)
		if len(got) != 1 || got[0].Flags != (program.Flags{Secured: true, Userdata: 42}) {
			t.Fatalf("%d octets received: %+v", length, got)
		}
		headers, icv := len(sealed)-len(esp), len(sealed)-out.Suite.ICVLen()
		if want := slices.Concat(sealed[:headers], clear[headers:icv], sealed[icv:]); !bytes.Equal(got[0].frame, want) {
			t.Fatalf("%d octets received\n%x\nexpected headers, clear text and ICV\n%x", length, got[0].frame, want)
		}
	}
}
