package ethdev

import (
	"strings"
	"testing"
)

func TestParseDevice(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // what DPDK gets, or part of the error
		ok   bool
	}{
		{"net_null0", "net_null0", true},
		{"net_null", "net_null", true},
		{"net_null3,size=128,copy=1", "net_null3,size=128,copy=1", true},
		{"net_af_packet0,iface=lan0", "net_af_packet0,iface=lan0", true},
		{"net_pcap0,rx_pcap=a.pcap,rx_pcap=b.pcap", "net_pcap0,rx_pcap=a.pcap,rx_pcap=b.pcap", true},
		{"net_tap7", "net_tap7", true},
		{"0000:00:05.0", "0000:00:05.0", true},
		{"00:1F.7", "0000:00:1f.7", true},
		{"af:00.1", "0000:af:00.1", true},
		{"0000:AF:00.1,rxq_cqe_comp_en=1", "0000:af:00.1,rxq_cqe_comp_en=1", true},

		{"", `"" is of no known kind, expected a PCI address (0000:00:05.0) or one of: net_af_packet,iface=eth0; net_af_xdp`, false},
		{"eth0", "net_tap,iface=tap0", false},
		{"net_virtio_user0,path=/x", "net_null,size=64", false},
		{"net_af_packet0", "expected the argument iface, such as net_af_packet,iface=eth0", false},
		{"net_pcap0,speed=1", "expected the argument rx_pcap or tx_pcap", false},
		{"net_null0,size", `argument "size", expected key=value`, false},
		{"net_null0,", `argument "", expected key=value`, false},
		{"net_null0,size=", `argument "size=", expected key=value`, false},
		{"0000:00:05.8", "no known kind", false},
		{"net_null0x", "no known kind", false},
	} {
		d, err := parseDevice(c.text)
		switch {
		case c.ok && (err != nil || d.String() != c.want):
			t.Errorf("%q gave %q, %v; want %q", c.text, d, err, c.want)
		case !c.ok && err == nil:
			t.Errorf("%q gave %q, want an error with %q", c.text, d, c.want)
		case !c.ok && !strings.Contains(err.Error(), c.want):
			t.Errorf("%q: %v; want %q in it", c.text, err, c.want)
		}
	}
}

func TestParseDeviceNamesPCIAddress(t *testing.T) {
	for text, want := range map[string]string{"0A:00.1,x=1": "0000:0a:00.1", "net_null0": ""} {
		if got, err := ParseDevice(text); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	if _, err := ParseDevice("wan0"); err == nil {
		t.Error("an unknown device was taken")
	}
}
