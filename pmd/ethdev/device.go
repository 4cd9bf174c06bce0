package ethdev

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sallyport/pmd/eal"
)

// kind is a driver that Open knows how to treat.
type kind struct {
	driver  string
	example string
	needs   []string // arguments of which at least one must be there
	netif   bool     // its argument iface is a kernel interface that exists before the port and stays after it
	jumbo   bool     // carries more than the longest frame it tells DPDK, as long as the kernel's interface does
	fill    int      // buffers that each Rx queue takes from the pool for good, beside those of received packets
	queues  string   // argument that sets the number of queue pairs, empty if there is none
}

// kinds lists the virtual devices. A PCI address is the other form of a device.
var kinds = []kind{
	{driver: "net_af_packet", example: "net_af_packet,iface=eth0", needs: []string{"iface"}, netif: true, jumbo: true,
		queues: "qpairs"},
	{driver: "net_af_xdp", example: "net_af_xdp,iface=eth0", needs: []string{"iface"}, netif: true, queues: "queue_count",
		fill: 2048},
	{driver: "net_tap", example: "net_tap,iface=tap0"},
	{driver: "net_memif", example: "net_memif,role=server,socket=/run/memif.sock", needs: []string{"role", "id", "socket"}},
	{driver: "net_pcap", example: "net_pcap,rx_pcap=in.pcap,tx_pcap=out.pcap",
		needs: []string{"rx_pcap", "tx_pcap", "rx_iface", "rx_iface_in", "tx_iface", "iface"}},
	{driver: "net_ring", example: "net_ring"},
	{driver: "net_null", example: "net_null,size=64"},
}

// kindOf finds what is known of a driver; nil for those of PCI devices.
func kindOf(driver string) *kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.driver == driver }); i >= 0 {
		return &kinds[i]
	}
	return nil
}

const pciExample = "0000:00:05.0"

var virtualForm = regexp.MustCompile(`^(net_[a-z_]*[a-z])([0-9]*)$`)

// argument is one key=value of a device string.
type argument struct{ key, value string }

// device is a parsed device string.
type device struct {
	kind      *kind  // nil for a PCI device
	name      string // PCI address, or driver with number; without a number as long as none is chosen
	arguments []argument
}

// ParseDevice checks a device string without opening anything; the error names the allowed forms. For a PCI device it returns the
// address, which belongs into eal.Config.AllowPCI.
func ParseDevice(text string) (pciAddress string, err error) {
	d, err := parseDevice(text)
	if err != nil || d.kind != nil {
		return "", err
	}
	return d.name, nil
}

func parseDevice(text string) (device, error) {
	fields := strings.Split(text, ",")
	d := device{name: fields[0]}
	isPCI := eal.IsPCIAddress(d.name)
	if isPCI {
		if strings.Count(d.name, ":") == 1 {
			d.name = "0000:" + d.name // the form DPDK gives the port's name
		}
		d.name = strings.ToLower(d.name)
	} else if match := virtualForm.FindStringSubmatch(d.name); match != nil {
		d.kind = kindOf(match[1])
	}
	if d.kind == nil && !isPCI {
		return device{}, unknownDevice(text)
	}
	for _, field := range fields[1:] {
		key, value, found := strings.Cut(field, "=")
		if !found || key == "" || value == "" {
			return device{}, fmt.Errorf("device %q: argument %q, expected key=value", text, field)
		}
		d.arguments = append(d.arguments, argument{key, value})
	}
	if d.kind != nil && len(d.kind.needs) != 0 && !slices.ContainsFunc(d.kind.needs, d.has) {
		return device{}, fmt.Errorf("device %q: expected the argument %s, such as %s", text,
			strings.Join(d.kind.needs, " or "), d.kind.example)
	}
	return d, nil
}

func unknownDevice(text string) error {
	examples := make([]string, len(kinds))
	for i, k := range kinds {
		examples[i] = k.example
	}
	return fmt.Errorf("device %q is of no known kind, expected a PCI address (%s) or one of: %s", text, pciExample,
		strings.Join(examples, "; "))
}

// String is the form that DPDK takes.
func (d device) String() string {
	var b strings.Builder
	b.WriteString(d.name)
	for _, a := range d.arguments {
		b.WriteString("," + a.key + "=" + a.value)
	}
	return b.String()
}

func (d device) has(key string) bool {
	_, found := d.argument(key)
	return found
}

func (d device) argument(key string) (value string, found bool) {
	for _, a := range d.arguments {
		if a.key == key {
			return a.value, true
		}
	}
	return "", false
}

// withDefault adds an argument that the operator did not give.
func (d device) withDefault(key string, value any) device {
	if !d.has(key) {
		d.arguments = append(slices.Clip(d.arguments), argument{key, fmt.Sprint(value)})
	}
	return d
}

// numbered says whether a virtual device has its number.
func (d device) numbered() bool { return d.kind == nil || d.name != d.kind.driver }

// netif is the name of the kernel interface that must be there before the device, empty if there is none.
func (d device) netif() string {
	if d.kind == nil || !d.kind.netif {
		return ""
	}
	name, _ := d.argument("iface")
	return name
}
