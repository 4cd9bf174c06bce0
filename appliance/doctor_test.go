package appliance

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/pipeline"
)

// Every opening of a path between two gateways is asked through, and with each of
// them blocked in turn that one has no answer.
// S-093
func TestDoctor(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	r.awaitChildren("nets")
	a := r.gateways[0]
	for blocked := -1; blocked < len(openings); blocked++ {
		r.block(func(p packetView) bool {
			switch blocked {
			case 0, 1:
				return p.protocol == protoUDP && p.port == []uint16{portIKE, portNATT}[blocked]
			case 2, 3:
				return p.protocol == []uint8{protoESP, protoAH}[blocked-2]
			}
			return false
		})
		found := get[api.Examination](r, a, api.PathDoctor, "peer", "far")
		if len(found.Openings) != 4 || len(found.Peers) != 1 || found.Peers[0].Remote != "192.0.2.2" {
			t.Fatalf("found %+v", found)
		}
		for i, o := range found.Peers[0].Openings {
			if o.Open == (i == blocked) || o.Name != openings[i].Name || o.Open && o.RoundTrip <= 0 || o.Error != "" {
				t.Errorf("with opening %d blocked: %+v", blocked, o)
			}
		}
	}
}

// A gateway answers the echoes of the ends of its tunnels, and not of others, and no more than so many.
func TestEchoIsForPeers(t *testing.T) {
	p := newPair(t)
	stranger := pipeline.Echo{Local: netip.MustParseAddr("192.0.2.2"), Remote: netip.MustParseAddr("198.51.100.9"), Protocol: crypto.ProtocolESP}
	p.b.Echo(stranger)
	if n := p.planeB.echoes(); n != 0 {
		t.Errorf("%d answers to a stranger", n)
	}
	friend := stranger
	friend.Remote = netip.MustParseAddr("192.0.2.1")
	now := time.Now()
	p.b.doctor.now = func() time.Time { return now }
	for range 1000 {
		p.b.Echo(friend)
	}
	if n := p.planeB.echoes(); n != echoBurst {
		t.Errorf("%d answers at once, expected %d", n, echoBurst)
	}
	now = now.Add(time.Second)
	p.b.Echo(friend)
	if n := p.planeB.echoes(); n != echoBurst+1 {
		t.Errorf("%d answers after a second, expected one more", n)
	}
	friend.Reply = true
	p.b.Echo(friend) // to no question
	if n := p.planeB.echoes(); n != echoBurst+1 {
		t.Errorf("an answer was answered")
	}
}
