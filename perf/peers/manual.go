package peers

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"sallyport/crypto"
)

// ManualSA is one direction of a Child SA with keys given by hand.
type ManualSA struct {
	SPI    uint32
	Keymat crypto.Secret // in the order of RFC 7296 section 2.17
}

// ManualLayer is a pair of SAs of one protocol: AH when the suite is one of AH, else ESP.
type ManualLayer struct {
	Suite   crypto.Suite
	Out, In ManualSA // as the guest sees them
}

// ManualTunnel is what protects the traffic between two networks, without IKE.
type ManualTunnel struct {
	// Local and Remote are the ends of the SAs: the gateways' addresses in tunnel mode, the hosts' own in transport mode.
	Local, Remote       netip.Addr
	LocalNet, RemoteNet netip.Prefix
	Layers              []ManualLayer // from the inside out; tunnel mode is the innermost one's
	Transport           bool
	UDP                 bool // ESP in UDP, from port 4500 to port 4500
	ESN                 bool
	ReplayWindow        int    // in packets; 32 when 0
	Sequence            uint64 // of the first packets in both directions; 1 when 0
}

// defaultReplayWindow of the guest's inbound SAs, in packets.
const defaultReplayWindow = 32

// InstallTunnels gives the guest's kernel the SAs and the policies that require them, in place of all it had.
func InstallTunnels(ctx context.Context, g *Guest, tunnels ...ManualTunnel) error {
	batch := []string{"state flush", "policy flush"}
	for i, m := range tunnels {
		lines, err := m.lines(i + 1)
		if err != nil {
			return err
		}
		batch = append(batch, lines...)
	}
	text := "xfrm " + strings.Join(batch, "\nxfrm ") + "\n"
	if err := os.WriteFile(filepath.Join(g.HostDir, "xfrm"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	_, err := g.Run(ctx, "ip", "-batch", guestDir+"/xfrm")
	return err
}

// lines are ip-xfrm's for the tunnel. The number binds its policies to its own SAs among those of the same ends.
func (m ManualTunnel) lines(number int) ([]string, error) {
	id := fmt.Sprint("reqid ", number)
	var states, out, in []string
	for i, layer := range m.Layers {
		protocol, mode := "proto esp", "mode tunnel"
		if layer.Suite.AH() {
			protocol = "proto ah"
		}
		if i > 0 || m.Transport {
			mode = "mode transport"
		}
		for _, way := range []struct {
			source, destination netip.Addr
			sa                  ManualSA
			templates           *[]string
		}{{m.Local, m.Remote, layer.Out, &out}, {m.Remote, m.Local, layer.In, &in}} {
			algorithm, err := algorithmWords(layer.Suite, way.sa.Keymat.Bytes())
			if err != nil {
				return nil, err
			}
			ends := fmt.Sprintf("src %s dst %s", way.source, way.destination)
			states = append(states, strings.Join(append([]string{"state add", ends, protocol, fmt.Sprintf("spi %#x", way.sa.SPI), id, mode,
				m.options(layer.Suite)}, algorithm...), " ")+m.encapsulation())
			*way.templates = append(*way.templates, strings.Join([]string{"tmpl", ends, protocol, id, mode}, " "))
		}
	}
	return append(states,
		fmt.Sprintf("policy add src %s dst %s dir out %s", m.LocalNet, m.RemoteNet, strings.Join(out, " ")),
		fmt.Sprintf("policy add src %s dst %s dir in %s", m.RemoteNet, m.LocalNet, strings.Join(in, " ")),
	), nil
}

// options are the words of an SA besides its keys.
func (m ManualTunnel) options(s crypto.Suite) string {
	window := m.ReplayWindow
	if window == 0 {
		window = defaultReplayWindow
	}
	text := fmt.Sprintf("replay-window %d", window)
	if m.Sequence > 0 {
		low, high := uint32(m.Sequence-1), (m.Sequence-1)>>32 // the kernel counts what has been
		text += fmt.Sprintf(" replay-seq %#x replay-oseq %#x", low, low)
		if m.ESN {
			text += fmt.Sprintf(" replay-seq-hi %#x replay-oseq-hi %#x", high, high)
		}
	}
	if m.ESN {
		text += " flag esn"
	}
	if s.AH() && m.Local.Is4() {
		text += " flag align4" // RFC 4302 section 2.6; without it Linux pads the ICV to 64 bits
	}
	if !m.Transport && m.Local.Is4() != m.LocalNet.Addr().Is4() {
		text += " flag af-unspec"
	}
	return text
}

// encapsulation are the words for ESP in UDP (RFC 3948), which stand behind those of the keys.
func (m ManualTunnel) encapsulation() string {
	if !m.UDP {
		return ""
	}
	original := netip.IPv4Unspecified()
	if m.Local.Is6() {
		original = netip.IPv6Unspecified()
	}
	return fmt.Sprintf(" encap espinudp %d %d %s", nattPort, nattPort, original)
}

// nattPort is that of ESP in UDP.
const nattPort = 4500
