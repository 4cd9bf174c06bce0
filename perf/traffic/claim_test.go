package traffic

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// An interface is one tester's at a time, whatever else stands in the device; devices that are no interface's are left to their drivers.
func TestClaim(t *testing.T) {
	name := fmt.Sprintf("lab%d", os.Getpid())
	giveBack, err := claim("net_af_packet0,iface=" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim("net_af_packet1,iface=" + name + ",blocksz=4096"); err == nil || !strings.Contains(err.Error(), "interface "+name+" is in use by another run of the lab") {
		t.Errorf("a second tester on the interface: %v", err)
	}
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{"net_af_packet0,iface=" + name, "net_memif0,id=0", "net_memif0,id=0", "0000:00:05.0"} {
		giveBack, err := claim(device)
		if err != nil {
			t.Fatal(err)
		}
		if err := giveBack(); err != nil {
			t.Error(err)
		}
	}
}
