package policy

import "strings"

// split gives each selector of a tunnel of Environment.Single a tunnel of its own. The classifier then finds the SA of a packet as it finds that of any
// tunnel, and each SA is negotiated, renewed, held for and shown by itself; several SAs in one tunnel would have to be told apart packet by packet
// once more. The only selector of a tunnel keeps the tunnel's name.
func (c *compiler) split(drafts []*draft) {
	traffic := map[string]map[Selector]bool{}
	for _, d := range drafts {
		if c.splits(d) && d.Verdict == VerdictProtect {
			if traffic[d.Tunnel] == nil {
				traffic[d.Tunnel] = map[Selector]bool{}
			}
			traffic[d.Tunnel][d.Selector()] = true
		}
	}
	for _, d := range drafts {
		if c.splits(d) && len(traffic[d.Tunnel]) > 1 {
			d.Tunnel += splitMark + d.Selector().String()
		}
	}
}

func (c *compiler) splits(d *draft) bool {
	return c.env.Single[d.Tunnel] && (d.Verdict == VerdictProtect || d.Verdict == VerdictRequire)
}

// splitMark stands between the name of a tunnel and the selector that was split from it. No name of an operator's has it.
const splitMark = ": "

// SplitFrom is the tunnel that one of a single selector was split from, and any other tunnel itself.
func SplitFrom(tunnel string) string {
	whole, _, _ := strings.Cut(tunnel, splitMark)
	return whole
}
