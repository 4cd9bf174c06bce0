package ethdev

import (
	"errors"
	"testing"
)

// Pause frames received, by the names of several drivers, and what is none.
func TestPauses(t *testing.T) {
	for name, want := range map[string]bool{
		"rx_flow_control_xoff_packets":       true, // net_ixgbe
		"rx_xoff_packets":                    true, // net_i40e, net_ice
		"cgx_rx_pause_pkts":                  true, // net_cn9k
		"rpm_rx_aPAUSEMACCtrlFramesReceived": true, // net_cn10k
		"tx_flow_control_xoff_packets":       false,
		"cgx_tx_pause_pkts":                  false,
		"rx_good_packets":                    false,
	} {
		if got := isPause(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	port := openPort(t, PortConfig{Name: "a", Device: "net_null", Pool: newPool(t, 1500)}).Port
	if n, err := port.Pauses(); !errors.Is(err, ErrNoPauses) {
		t.Errorf("%d, %v of a driver that counts none", n, err)
	}
}
