package pipeline

// portShares divides room among ports so that none can take all of it: half is in equal parts the ports' own, the rest is for whoever comes first.
type portShares struct {
	own    int   // of each port
	common int   // of all
	beyond int   // taken of what is common
	used   []int // by port, of both
}

func newPortShares(total, ports int) portShares {
	own := total / 2 / ports
	return portShares{own: own, common: total - own*ports, used: make([]int, ports)}
}

// room reports whether a port can take one more.
func (s *portShares) room(port int) bool { return s.used[port] < s.own || s.beyond < s.common }

// most is what one port can have.
func (s *portShares) most() int { return s.own + s.common }

func (s *portShares) take(port int) {
	if s.used[port] >= s.own {
		s.beyond++
	}
	s.used[port]++
}

func (s *portShares) give(port, n int) {
	s.beyond -= max(s.used[port]-s.own, 0)
	s.used[port] -= n
	s.beyond += max(s.used[port]-s.own, 0)
}
