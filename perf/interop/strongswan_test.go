package interop

import (
	"context"
	"testing"

	"sallyport/perf/peers"
)

// strongSwan is a connection of the daemon that says what the case does, and what the changes say.
func strongSwan(changes ...func(b *bed, t *peers.Tunnel)) theirs {
	return func(ctx context.Context, b *bed, c testCase, name string) (peers.Daemon, error) {
		tunnel := peers.Tunnel{Name: name, Local: b.B.WANAddress, Remote: b.A.WANAddress, LocalNet: b.B.LAN, RemoteNet: b.A.LAN, PSK: psk,
			IKEProposals: c.ike, ESPProposals: c.esp}
		if c.ah != "" {
			tunnel.Child = "ah_proposals = " + c.ah
		}
		for _, change := range changes {
			change(b, &tunnel)
		}
		return peers.StartStrongSwanIn(ctx, b.guest, tunnel)
	}
}

const (
	defaultIKE = "aes128gcm16-prfsha256-ecp256"
	defaultESP = "aes128gcm16"
)

// TestStrongSwan: every case of strongSwan, whose ESP and AH are the Linux kernel's.
// S-060: either end starts.
func TestStrongSwan(t *testing.T) {
	cases := []testCase{
		{name: "psk", core: true, ike: defaultIKE, esp: defaultESP, theirs: strongSwan(), wire: plainESP},
		{name: "rekey", core: true, ike: defaultIKE, esp: defaultESP, theirs: strongSwan(), wire: plainESP, check: rekeyBothWays},
		{name: "nat", core: true, ike: defaultIKE, esp: defaultESP, wire: espInUDP,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.Connection = "encap = yes" })},
	}
	for i := range cases {
		cases[i].daemon = "strongSwan"
	}
	runCases(t, newBed(t), cases)
}
