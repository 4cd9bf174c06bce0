package traffic

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"sallyport/appliance/config"
	"sallyport/crypto"
	"sallyport/ike"
)

// What the tester cannot speak is refused, with what was expected and what was found: AH, transport mode, and peers whose keys it has not.
// S-118
func TestRefusedTunnels(t *testing.T) {
	ah, err := crypto.ParseESPProposal("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	ah.Protocol = crypto.ProtocolAH
	peer := func(child ike.Child) error {
		return new(Config).play(&ike.Peer{Name: "b", LocalAuth: ike.AuthPSK, RemoteAuth: ike.AuthPSK, Remote: netip.MustParseAddr("192.0.2.2"), Children: []ike.Child{child}}, nil)
	}
	byHand := func(sa config.ManualSA) error {
		_, err := turned(&config.ManualTunnel{SA: &sa})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"a rule in transport mode":  {peer(ike.Child{Name: "net", Transport: true}), "rule net: expected ESP in tunnel mode, found transport mode or AH"},
		"a rule with ESP and AH":    {peer(ike.Child{Name: "net", Bundle: true}), "rule net: expected ESP in tunnel mode, found transport mode or AH"},
		"a rule with AH":            {peer(ike.Child{Name: "net", Proposals: []crypto.Proposal{ah}}), "rule net: expected ESP alone, found AH"},
		"a peer with a certificate": {new(Config).play(&ike.Peer{LocalAuth: ike.AuthSignature, RemoteAuth: ike.AuthPSK}, nil), "expected a preshared key at both ends, found certificates"},
		"keys for AH":               {byHand(config.ManualSA{Protocol: crypto.ProtocolAH}), "expected ESP alone, found AH"},
		"keys for ESP in transport": {byHand(config.ManualSA{Protocol: crypto.ProtocolESP, Transport: true}), "expected tunnel mode, found transport mode"},
		"a peer without an address": {new(Config).play(&ike.Peer{LocalAuth: ike.AuthPSK, RemoteAuth: ike.AuthPSK}, nil), "expected the address of the peer (remote:), found none"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("%s: %v, expected %q", name, c.err, c.says)
		}
	}
}

// A memif without its server is no matter of drivers: the gateway has to run first.
func TestNoServer(t *testing.T) {
	refused := errors.New("port protected: start: the driver refused (DPDK says: memif_connect_client(): Failed to connect socket: /run/memif.sock.)")
	for device, advised := range map[string]bool{"net_memif0,id=0": true, "net_af_packet0,iface=eth0": false} {
		if got := withAdvice(device, refused); !errors.Is(got, refused) || strings.Contains(got.Error(), "start the gateway first") != advised {
			t.Errorf("%s: %v", device, got)
		}
	}
	if err := withAdvice("net_memif0,id=0", nil); err != nil {
		t.Error(err)
	}
}
