package policy

import (
	"strings"
	"testing"
)

// Each form of an address has its range; the masks 255.255.255.255 and 0.0.0.0 are /32 and /0.
// S-013
func TestParseAddressSpec(t *testing.T) {
	for text, want := range map[string]string{
		"any": "any", "ANY": "any", "my": "my", "10.1.0.7": "10.1.0.7", "10.1.0.7/32": "10.1.0.7", "0.0.0.0/0": "0.0.0.0/0",
		"10.1.0.0/16": "10.1.0.0/16", "10.1.0.10 - 10.1.0.20": "10.1.0.10-10.1.0.20", "10.1.0.0-10.1.255.255": "10.1.0.0/16",
		"::/0": "::/0", "2001:db8::1": "2001:db8::1", "2001:db8::-2001:db8::f": "2001:db8::/124",
	} {
		spec, err := ParseAddressSpec(text)
		if err != nil || spec.String() != want {
			t.Errorf("%q: %q, %v, want %q", text, spec, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "expected an address", "10.1.0.1/16": "10.1.0.0/16 for the network", "10.1.0.20-10.1.0.10": "lower address first",
		"10.1.0.1-2001:db8::1": "mixes", "fe80::1%eth0": "zone", "::ffff:10.0.0.1": "IPv4", "10.1.0.0/33": "expected an address",
		"10.1.0.1-": "expected an address", "host.example": "expected an address",
	} {
		if spec, err := ParseAddressSpec(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, error %v, want one with %q", text, spec, err, want)
		}
	}
}

func TestParsePortRange(t *testing.T) {
	for text, want := range map[string]PortRange{"": AnyPort, "any": AnyPort, "25": {25, 25}, "1024-65535": {1024, 65535}, "0-65535": AnyPort} {
		if got, err := ParsePortRange(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "65536", "-1", "2-1", "http", "1-2-3", "1-"} {
		if got, err := ParsePortRange(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestParseWords(t *testing.T) {
	for text, want := range map[string]uint8{"": 0, "any": 0, "tcp": 6, "UDP": 17, "icmp": 1, "46": 46, "255": 255} {
		if got, err := ParseProtocol(text); err != nil || got != want {
			t.Errorf("protocol %q: %d, %v, want %d", text, got, err, want)
		}
	}
	if _, err := ParseProtocol("256"); err == nil {
		t.Error("protocol 256: want an error")
	}
	for _, kind := range []ActionKind{ActionPermit, ActionBlock, ActionNegotiate} {
		if got, err := ParseActionKind(kind.String()); err != nil || got != kind {
			t.Errorf("action %s: %s, %v", kind, got, err)
		}
	}
	// S-023
	if _, err := ParseActionKind("allow"); err == nil || !strings.Contains(err.Error(), "permit, block or negotiate") {
		t.Errorf("a fourth action: %v", err)
	}
	for text, want := range map[string]PortGroup{"": PortsAll, "lan": PortsLAN, "wan": PortsWAN, "all": PortsAll} {
		if got, err := ParsePortGroup(text); err != nil || got != want {
			t.Errorf("ports %q: %s, %v, want %s", text, got, err, want)
		}
	}
	if _, err := ParsePortGroup("dmz"); err == nil {
		t.Error("ports dmz: want an error")
	}
}
