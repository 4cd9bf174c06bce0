package atstart

import (
	"os"
	"testing"

	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
	"sallyport/pmd/eal/ealtest"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
)

func TestMain(m *testing.M) { os.Exit(ealtest.Run(m, 256)) }

func TestOptions(t *testing.T) {
	for value, want := range map[string]softnic.Options{
		"":                      {},
		"wan1":                  {},
		"net_null0=crypto,wan1": {},
		"wan0":                  {InlineCrypto: true, InlineProtocol: true},
		"lan0=protocol,wan0":    {InlineCrypto: true, InlineProtocol: true},
		"net_null1":             {InlineCrypto: true, InlineProtocol: true},
		"wan0=crypto":           {InlineCrypto: true},
		"wan0=protocol":         {InlineProtocol: true},
	} {
		got, named, err := optionsOf(value, "net_null1", "wan0")
		if err != nil || got.InlineCrypto != want.InlineCrypto || got.InlineProtocol != want.InlineProtocol || named != (want.InlineCrypto || want.InlineProtocol) {
			t.Errorf("%q: %+v, %v, %v", value, got, named, err)
		}
	}
	if _, _, err := optionsOf("wan0=both", "wan0"); err == nil {
		t.Error("a kind that there is not was taken")
	}
}

// TestPortsStart opens two ports as a gateway does, one of them named, twice.
func TestPortsStart(t *testing.T) {
	pool, err := mempool.CreateMbufPool("atstart", 1023, ethdev.DataRoom(1500))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Free()
	t.Setenv("SALLYPORT_SOFTNIC", "net_null7=crypto")
	for range 2 {
		for device, named := range map[string]bool{"net_null7": true, "net_null8": false} {
			opened, err := ethdev.Open(ethdev.PortConfig{Name: "wan", Device: device, Pool: pool, RxQueues: 2, TxQueues: 2})
			if err != nil {
				t.Fatal(err)
			}
			if program.Offers(uint16(opened.Port)) != named {
				t.Errorf("%s: has a NIC: %v", device, !named)
			}
			if named && program.Algorithms(uint16(opened.Port), false, true, false) == 0 {
				t.Errorf("%s: no inline crypto", device)
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Setenv("SALLYPORT_SOFTNIC", "net_null7=all")
	if opened, err := ethdev.Open(ethdev.PortConfig{Name: "wan", Device: "net_null7", Pool: pool}); err == nil {
		t.Error("a port started with a variable that says nothing")
		_ = opened.Close()
	}
}
