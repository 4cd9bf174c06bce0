package bench

import (
	"cmp"
	"fmt"

	"sallyport/crypto"
)

// transformsTable has the other ways to protect a packet, each beside its own floor, whose crypto is the fastest call there is:
// libIPSec_MB itself.
func (o *Options) transformsTable() table {
	sizes, source := []int{64, largeSize}, cmp.Or(o.SourcePackets, smallSource)
	var t table
	add := func(suite crypto.Suite, e encapsulation, sizes ...int) {
		for _, direction := range o.Directions {
			for _, size := range sizes {
				l := load{suite: suite, direction: direction, encapsulation: e, size: size, flows: 1, tunnels: 1, source: source, order: randomOrder(1), workers: 1}
				if size == largeSize {
					l.target = largeTarget
				}
				t.loads = append(t.loads, []load{l})
			}
		}
	}
	for _, suite := range []crypto.Suite{
		{Encr: crypto.EncrAESGCM16, KeyBits: 256},
		{Encr: crypto.EncrAESCBC, KeyBits: 128, Integ: crypto.IntegHMACSHA256},
		{Encr: crypto.EncrChaCha20Poly1305},
		{Integ: crypto.IntegHMACSHA256}, // AH
	} {
		add(suite, encapsulation{}, sizes...)
	}
	for _, e := range []encapsulation{{udp: true}, {inner6: true}, {outer6: true}, {inner6: true, outer6: true}} {
		add(cheapest, e, sizes...)
	}
	add(cheapest, encapsulation{}, 0)
	t.run = func(s *stand) ([]any, error) {
		fmt.Fprintf(o.Out, transformsHeading, source, imixMTU)
		rows, err := o.runRows(s, tableTransforms, t.loads)
		return anyRows(rows), err
	}
	return t
}

const transformsHeading = `
transforms and encapsulations; the floor's crypto is libIPSec_MB itself, by direct calls for AES-GCM and by jobs for the rest
sources of %d packets (--source-packets), the same for gateway and floor. Few stay in the core's own cache, as what a network card has just written does; many
come from a cache that others share, by a copy which a card would make, and which is not the same in both where others are busy (docs/DESIGN.md, Measuring)
IMIX: frames of 64, 594 and 1518 bytes (IP packets of 46, 576 and 1500) in clear, 7:4:1 in random order, on ports with an MTU of %d: all fit, protected
`
