package crypto

// strength ranks algorithms as far as the choice between old ones goes: what no longer
// protects; 3DES and SHA-1, which their predecessors DES and MD5 must not precede; the
// rest.
func (t Transform) strength() int {
	switch {
	case t == Transform{Type: TransformEncr, ID: uint16(Encr3DES)},
		t == Transform{Type: TransformInteg, ID: uint16(IntegHMACSHA1)},
		t == Transform{Type: TransformPRF, ID: uint16(PRFHMACSHA1)}:
		return 1
	case t.legacy():
		return 0
	}
	return 2
}

// WeakFirst looks for an algorithm that stands before a stronger one of its kind, in one
// proposal or in a later one of the list: DES before 3DES, MD5 before SHA-1, any of them
// before what is good today. It returns the words of the first such two, or nothing.
func WeakFirst(proposals []Proposal) (weak, strong string) {
	weakest := map[TransformType]Transform{}
	for _, p := range proposals {
		for _, t := range p.Transforms() {
			before, seen := weakest[t.Type]
			if seen && before.strength() < t.strength() {
				return before.Keyword(), t.Keyword()
			}
			if !seen || t.strength() < before.strength() {
				weakest[t.Type] = t
			}
		}
	}
	return "", ""
}
