package importer

import "strings"

// maxSettings bounds what references between sections may multiply to.
const maxSettings = 1 << 18

// resolver gives sections what they take from others: "child : base { }" has every setting and section of base that it
// does not have itself. A base is named by its path from the top, with dots.
type resolver struct {
	*report
	root    *section
	done    map[*section]bool
	running map[*section]bool
	copied  int
}

// resolve resolves a section and all inside it; false where it is in the middle of that.
func (r *resolver) resolve(s *section) bool {
	if r.done[s] {
		return true
	}
	if r.running[s] {
		return false
	}
	r.running[s] = true
	for _, each := range s.sections {
		r.resolve(each)
	}
	for _, name := range s.bases {
		switch base := r.find(name); {
		case base == nil:
			r.problem(s.line, "section %s refers to %s, which is not there", quote(s.name), quote(name))
		case !r.resolve(base):
			r.problem(s.line, "section %s refers to %s, which refers to it", quote(s.name), quote(name))
		default:
			r.merge(s, base)
		}
	}
	r.running[s], r.done[s] = false, true
	return true
}

// find follows a path from the top.
func (r *resolver) find(path string) *section {
	at := r.root
	for name := range strings.SplitSeq(path, ".") {
		if at = at.byName[name]; at == nil {
			return nil
		}
	}
	return at
}

// merge copies what is not there.
func (r *resolver) merge(s, base *section) {
	if r.copied > maxSettings {
		r.problem(s.line, "the references of section %s multiply to more than %d settings", quote(s.name), maxSettings)
		return
	}
	for _, each := range base.settings {
		if s.last[each.key] == nil {
			r.copied++
			s.put(each)
		}
	}
	for _, each := range base.sections {
		inner := s.byName[each.name]
		if inner == nil {
			r.copied++
			inner = newSection(each.line, each.name)
			s.enter(inner)
		}
		r.merge(inner, each)
	}
}
