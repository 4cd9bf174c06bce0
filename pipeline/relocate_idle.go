package pipeline

// idleMoves is how often an inbound SA moves that carries nothing: what it leaves behind stays until a packet comes.
const idleMoves = 4

func (s *sad) movesOf(sa *inboundSA) (n int) {
	for i := range s.moving {
		if s.moving[i].in == sa {
			n++
		}
	}
	return n
}

// leavesTooMuch reports whether an SA that moved on would leave behind too much that only its packets free. An SA may always move once; what idle SAs leave beyond that has a bound in
// all, so that sessions are left for the next ones of a rekey.
func (d *Dataplane) leavesTooMuch(sa *inboundSA) bool {
	moves := d.sad.movesOf(sa)
	return moves >= idleMoves || moves > 0 && len(d.sad.moving) >= d.cfg.MaxSAs/4
}

// idleError is errMoving of an SA that no moment brings to rest: only its next packet does.
type idleError struct{}

func (idleError) Error() string {
	return "it has moved before and carries nothing: what it left behind is free with its next packet, so ask again then"
}

func (idleError) Is(target error) bool { return target == errMoving }
