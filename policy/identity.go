package policy

// fnv1a is the hash of 32 bits that numbers entries (FNV-1a). It is written out because Compile hashes every entry, and
// an incremental hash takes strings without a copy.
type fnv1a uint32

const emptyHash fnv1a = 2166136261

func (h fnv1a) add(text string) fnv1a {
	for i := range len(text) {
		h = (h ^ fnv1a(text[i])) * 16777619
	}
	return h.addByte(0) // ends the text, so that "ab", "c" is not "a", "bc"
}

func (h fnv1a) addByte(b byte) fnv1a { return (h ^ fnv1a(b)) * 16777619 }

func (h fnv1a) addRange(r AddrRange) fnv1a {
	first, last := r.First.As16(), r.Last.As16()
	for _, b := range first {
		h = h.addByte(b)
	}
	for _, b := range last {
		h = h.addByte(b)
	}
	return h
}

// assignIDs gives every entry and exemption a number that depends on its own text. Two texts with the same hash are
// rehashed in the order of rank, so a collision too gives the same numbers for the same policy.
func assignIDs(spd *SPD) {
	used := make(map[uint32]bool, len(spd.exemptions)+len(spd.Entries)+1)
	used[0] = true
	free := func(h fnv1a) uint32 {
		for used[uint32(h)] {
			h = h.addByte(0)
		}
		used[uint32(h)] = true
		return uint32(h)
	}
	for i := range spd.exemptions {
		spd.exemptions[i].ID = free(emptyHash.add("exemption").add(spd.exemptions[i].Name))
	}
	for i := range spd.Entries {
		e := &spd.Entries[i]
		h := emptyHash.add("entry").add(e.Rule).add(e.FilterList).add(e.FilterName)
		if e.Mirror {
			h = h.addByte(1)
		}
		e.ID = free(h.addRange(e.Source).addRange(e.Destination))
	}
}
