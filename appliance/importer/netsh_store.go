package importer

import (
	"maps"
	"slices"
	"strings"
)

// object is a policy, a filter list, a filter, a filter action or a rule of the store, with its values as written.
type object struct {
	line     int
	name     string
	values   map[string]value
	children []*object        // filters of a list
	rules    *shelf           // of a policy
	standard map[string]value // values of a policy's default response rule, if it was set
}

// text is the value of a tag, "" without one.
func (o *object) text(tag string) string { return strings.TrimSpace(o.values[tag].text) }

// at is the line of a value, or of the object.
func (o *object) at(tag string) int {
	if v, has := o.values[tag]; has {
		return v.line
	}
	return o.line
}

func (o *object) has(tag string) bool {
	_, has := o.values[tag]
	return has
}

// shelf holds the objects of a kind by name, as netsh does: capital and small letters are the same.
type shelf struct {
	kind    string
	objects []*object
	byName  map[string]*object
}

func newShelf(kind string) *shelf { return &shelf{kind: kind, byName: map[string]*object{}} }

func (h *shelf) find(name string) *object { return h.byName[strings.ToLower(name)] }

func (h *shelf) put(o *object) {
	h.objects = append(h.objects, o)
	h.byName[strings.ToLower(o.name)] = o
}

func (h *shelf) remove(o *object) {
	delete(h.byName, strings.ToLower(o.name))
	h.objects = slices.DeleteFunc(h.objects, func(other *object) bool { return other == o })
}

func (h *shelf) rename(o *object, name string) {
	delete(h.byName, strings.ToLower(o.name))
	o.name = name
	h.byName[strings.ToLower(name)] = o
}

// names lists the objects for a message.
func (h *shelf) names() string {
	if len(h.objects) == 0 {
		return "the file adds none"
	}
	var names []string
	for _, o := range h.objects[:min(len(h.objects), 10)] {
		names = append(names, quote(o.name))
	}
	if more := len(h.objects) - len(names); more > 0 {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

// store is the policy store that a script fills.
type store struct {
	policies, lists, actions *shelf
	assigned                 *object
}

func newStore() store {
	return store{policies: newShelf("policy"), lists: newShelf("filter list"), actions: newShelf("filter action")}
}

// add puts an object onto a shelf; nil after a problem.
func (s *netshScript) add(h *shelf, args *arguments) *object {
	o := &object{line: args.line, values: args.values}
	o.name = o.text("name")
	switch first := h.find(o.name); {
	case o.name == "":
		s.problem(args.line, "expected name=, found a %s without a name", h.kind)
		return nil
	case first != nil:
		s.problem(args.line, "expected a name of its own, found the %s %s, which is there since line %d", h.kind, quote(o.name), first.line)
		return nil
	}
	h.put(o)
	return o
}

// named finds the object that a command changes; nil after a problem or a note.
func (s *netshScript) named(h *shelf, args *arguments, tag string) *object {
	name, has := args.values[tag]
	if !has {
		s.lost(args.line, "the %s is not named by its name, which is all that the file tells: the line is left out", h.kind)
		return nil
	}
	o := h.find(strings.TrimSpace(name.text))
	if o == nil {
		s.problem(args.line, "expected a %s that is there (%s), found %s", h.kind, h.names(), quote(name.text))
	}
	return o
}

// change gives an object new values, and a new name if there is one.
func (s *netshScript) change(h *shelf, o *object, args *arguments) {
	if name := strings.TrimSpace(args.values["newname"].text); name != "" {
		if other := h.find(name); other != nil && other != o {
			s.problem(args.line, "expected a name of its own, found %s, which line %d has", quote(name), other.line)
			return
		}
		h.rename(o, name)
	}
	for _, tag := range []string{"name", "newname", "guid", "id", "policy"} {
		if tag != "policy" || h.kind == "rule" {
			delete(args.values, tag)
		}
	}
	maps.Copy(o.values, args.values)
}

// drop removes an object, or all for the name all. One that is not there is no mistake: scripts clean up before they add.
func (s *netshScript) drop(h *shelf, args *arguments, removed func(*object)) {
	name := strings.TrimSpace(args.values["name"].text)
	o := h.find(name)
	switch {
	case o != nil:
		h.remove(o)
		removed(o)
		s.info(args.line, "deletes the %s of line %d: left out", h.kind, o.line)
	case strings.EqualFold(name, "all"):
		objects := h.objects
		h.objects, h.byName = nil, map[string]*object{}
		for _, o := range objects {
			removed(o)
		}
		s.info(args.line, "deletes every %s before this line", h.kind)
	default:
		s.info(args.line, "deletes a %s that the file has not added before: nothing to do", h.kind)
	}
}

func (s *netshScript) addPolicy(args *arguments) {
	if o := s.add(s.store.policies, args); o != nil {
		o.rules = newShelf("rule")
		s.assign(o, args)
	}
}

// assign puts a policy in force, or takes it out.
func (s *netshScript) assign(o *object, args *arguments) {
	given, has := args.values["assign"]
	if !has {
		return
	}
	switch yes, ok := parseYes(given.text); {
	case !ok:
		s.problem(args.line, "assign: expected yes or no, found %s", quote(given.text))
	case yes:
		s.store.assigned = o
	case s.store.assigned == o:
		s.store.assigned = nil
	}
}

func (s *netshScript) setPolicy(args *arguments) {
	if o := s.named(s.store.policies, args, "name"); o != nil {
		s.assign(o, args)
		s.change(s.store.policies, o, args)
	}
}

func (s *netshScript) deletePolicy(args *arguments) {
	s.drop(s.store.policies, args, func(o *object) {
		if s.store.assigned == o {
			s.store.assigned = nil
		}
	})
}

// addList adds a list. A filter may have made it already.
func (s *netshScript) addList(args *arguments) {
	if o := s.store.lists.find(strings.TrimSpace(args.values["name"].text)); o != nil {
		s.info(args.line, "the filter list is there since line %d", o.line)
		maps.Copy(o.values, args.values)
		return
	}
	s.add(s.store.lists, args)
}

func (s *netshScript) setList(args *arguments) {
	if o := s.named(s.store.lists, args, "name"); o != nil {
		s.change(s.store.lists, o, args)
	}
}

func (s *netshScript) deleteList(args *arguments) { s.drop(s.store.lists, args, func(*object) {}) }

// addFilter adds a filter to its list, and the list where it is not there yet.
func (s *netshScript) addFilter(args *arguments) {
	name := strings.TrimSpace(args.values["filterlist"].text)
	if name == "" {
		s.problem(args.line, "expected filterlist=, found a filter without a list")
		return
	}
	l := s.store.lists.find(name)
	if l == nil {
		l = &object{line: args.line, name: name, values: map[string]value{}}
		s.store.lists.put(l)
	}
	l.children = append(l.children, &object{line: args.line, name: name, values: args.values})
}

// deleteFilter removes the filters that have every value of the command.
func (s *netshScript) deleteFilter(args *arguments) {
	l := s.store.lists.find(strings.TrimSpace(args.values["filterlist"].text))
	if l == nil {
		s.info(args.line, "deletes a filter of a list that is not there: nothing to do")
		return
	}
	before := len(l.children)
	l.children = slices.DeleteFunc(l.children, func(f *object) bool {
		for tag, v := range args.values {
			if tag != "filterlist" && !strings.EqualFold(f.text(tag), strings.TrimSpace(v.text)) {
				return false
			}
		}
		return true
	})
	s.info(args.line, "deletes %d filters of list %s", before-len(l.children), quote(l.name))
}

func (s *netshScript) addAction(args *arguments) { s.add(s.store.actions, args) }

func (s *netshScript) setAction(args *arguments) {
	if o := s.named(s.store.actions, args, "name"); o != nil {
		s.change(s.store.actions, o, args)
	}
}

func (s *netshScript) deleteAction(args *arguments) { s.drop(s.store.actions, args, func(*object) {}) }

func (s *netshScript) addRule(args *arguments) {
	if p := s.named(s.store.policies, args, "policy"); p != nil {
		s.add(p.rules, args)
	}
}

func (s *netshScript) setRule(args *arguments) {
	p := s.named(s.store.policies, args, "policy")
	if p == nil {
		return
	}
	if o := s.named(p.rules, args, "name"); o != nil {
		s.change(p.rules, o, args)
	}
}

func (s *netshScript) deleteRule(args *arguments) {
	p := s.store.policies.find(strings.TrimSpace(args.values["policy"].text))
	if p == nil {
		s.info(args.line, "deletes a rule of a policy that is not there: nothing to do")
		return
	}
	s.drop(p.rules, args, func(*object) {})
}

func (s *netshScript) setDefaultRule(args *arguments) {
	if p := s.named(s.store.policies, args, "policy"); p != nil {
		if p.standard == nil {
			p.standard = map[string]value{}
		}
		maps.Copy(p.standard, args.values)
	}
}

func (s *netshScript) setStore(args *arguments) {
	s.info(args.line, "set store: a gateway has one store, its configuration file")
}

func (s *netshScript) deleteAll(args *arguments) {
	s.store = newStore()
	s.info(args.line, "deletes everything before this line")
}

// parseYes reads yes or no, of which netsh takes the first letters.
func parseYes(text string) (yes, ok bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	switch {
	case text == "":
		return false, false
	case strings.HasPrefix("yes", text):
		return true, true
	case strings.HasPrefix("no", text):
		return false, true
	}
	return false, false
}
