package peerbench

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"sallyport/perf/bench"
)

// What VPP says of its nodes, by the columns that it has: the state of one may be two words, and what waits for events has no packets.
func TestVPPNodes(t *testing.T) {
	const text = `Thread 1 vpp_wk_0 (lcore 1)
Time .1, 10.000000 sec internal node vector rate 256.00 loops/sec 30000.00
  vector rates in 8.0e6, out 8.0e6, drop 0.0000e0, punt 0.0000e0
             Name                 State         Calls          Vectors        Suspends      Packet-Time   Vectors/Call
ip4-lookup                       active             2000          512000               0          4.00e0          256.00
pg-input                        polling             1000          256000               0          2.50e1          256.00
pg1-tx                    interrupt wait            1000          256000               0          5.50e0          256.00
statseg-collector-process      time wait                0               0               1          1.10e4            0.00
`
	nodes := vppNodes(text)
	if found := slices.Sorted(maps.Keys(nodes)); !slices.Equal(found, []string{"ip4-lookup", "pg-input", "pg1-tx"}) || nodes["pg1-tx"] != (vppNode{256000, 5.5}) {
		t.Errorf("%v", nodes)
	}
	path := []string{"pg-input", "ip4-lookup", "ip4-lookup", "pg1-tx"}
	for first, want := range map[int]float64{0: 33, 1: 8, 2: 4} {
		if time, err := nodesTime(nodes, path, first); err != nil || time != want {
			t.Errorf("from node %d on: %v ns, %v, expected %v", first, time, err, want)
		}
	}
	// Packets that go elsewhere, or no further, are no figure.
	for _, path := range [][]string{{"pg-input", "ip4-lookup", "pg1-tx"}, {"pg-input", "ip4-lookup", "ip4-lookup"}} {
		if _, err := nodesTime(nodes, path, 1); err == nil || !strings.Contains(err.Error(), "times in") {
			t.Errorf("%v: found %v, expected an error", path, err)
		}
	}
	if _, err := nodesTime(nil, path, 1); err == nil {
		t.Error("expected an error where nothing has run")
	}
}

func TestTracedNodes(t *testing.T) {
	const text = `------------------- Start of thread 0 vpp_main -------------------
No packets in trace buffer
------------------- Start of thread 1 vpp_wk_0 -------------------
Packet 1

00:00:07:012345: pg-input
  stream 0, 78 bytes, sw_if_index 1
00:00:07:012346: ethernet-input
  IP4: 02:00:00:00:00:02 -> 02:00:00:00:00:01
`
	if path := tracedNodes(text); !slices.Equal(path, []string{"pg-input", "ethernet-input"}) {
		t.Errorf("%v", path)
	}
}

// Keys stand in commands as VPP reads them, and inbound packets come by the loop.
func TestVPPSetUp(t *testing.T) {
	for direction, route := range map[bench.Direction]string{bench.Outbound: "via 192.0.2.2 pg1", bench.Inbound: "via 192.0.2.9 loop0"} {
		text := strings.Join(vppSetUp(direction, 64), "\n")
		for _, part := range []string{"crypto-key 61206b6579206f662031362062797465 salt 0x73616c74", "ip route add 192.0.2.2/32 " + route + "\n", "size 78-78 "} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %q in\n%s", direction, part, text)
			}
		}
	}
	if one := vppStartup("lab", "native", []int{3}, false); strings.Contains(one, "workers") || !strings.Contains(one, "main-core 3 ") {
		t.Errorf("one CPU: %s", one)
	}
}
