package importer

import (
	"iter"
	"slices"
	"strings"
)

// netshVerb is a command of ipsec static, with the objects that it takes or a note where it has no effect here.
type netshVerb struct {
	name           string
	objects        []netshObject
	severity, note string
}

// netshObject is what a command is about. tags are in the order in which values without a tag are taken.
type netshObject struct {
	name           string
	tags           []string
	run            func(*netshScript, *arguments)
	severity, note string
}

// The tags of each object, in the order of Microsoft's reference.
var (
	policyTags  = []string{"name", "description", "mmpfs", "qmpermm", "mmlifetime", "activatedefaultrule", "pollinginterval", "assign", "mmsecmethods"}
	listTags    = []string{"name", "description"}
	filterTags  = []string{"filterlist", "srcaddr", "dstaddr", "description", "protocol", "mirrored", "srcmask", "dstmask", "srcport", "dstport"}
	actionTags  = []string{"name", "description", "qmpfs", "inpass", "soft", "action", "qmsecmethods"}
	ruleTags    = []string{"name", "policy", "filterlist", "filteraction", "tunnel", "conntype", "activate", "description", "kerberos", "psk", "rootca"}
	defaultTags = []string{"policy", "qmpfs", "activate", "qmsecmethods", "kerberos", "psk", "rootca"}
)

// netshVerbs is what ipsec static understands.
var netshVerbs []netshVerb

func init() { // a table of functions that use it: a variable cannot be its own initial value
	netshVerbs = []netshVerb{
		{name: "add", objects: []netshObject{
			{name: "policy", tags: policyTags, run: (*netshScript).addPolicy},
			{name: "filterlist", tags: listTags, run: (*netshScript).addList},
			{name: "filter", tags: filterTags, run: (*netshScript).addFilter},
			{name: "filteraction", tags: actionTags, run: (*netshScript).addAction},
			{name: "rule", tags: ruleTags, run: (*netshScript).addRule},
		}},
		{name: "set", objects: []netshObject{
			{name: "policy", tags: append([]string{"name", "guid", "newname"}, policyTags[1:]...), run: (*netshScript).setPolicy},
			{name: "filterlist", tags: []string{"name", "guid", "newname", "description"}, run: (*netshScript).setList},
			{name: "filteraction", tags: append([]string{"name", "guid", "newname"}, actionTags[1:]...), run: (*netshScript).setAction},
			{name: "rule", tags: append([]string{"name", "id", "policy", "newname", "description"}, slices.DeleteFunc(slices.Clone(ruleTags[2:]), isDescription)...), run: (*netshScript).setRule},
			{name: "defaultrule", tags: defaultTags, run: (*netshScript).setDefaultRule},
			{name: "store", tags: []string{"location", "domain"}, run: (*netshScript).setStore},
			{name: "batch", severity: SeverityInfo, note: "set batch changes no policy: left out"},
			{name: "interactive", severity: SeverityInfo, note: "set interactive changes no policy: left out"},
		}},
		{name: "delete", objects: []netshObject{
			{name: "policy", tags: []string{"name"}, run: (*netshScript).deletePolicy},
			{name: "filterlist", tags: []string{"name"}, run: (*netshScript).deleteList},
			{name: "filter", tags: append([]string{"filterlist"}, slices.DeleteFunc(slices.Clone(filterTags[1:]), isDescription)...), run: (*netshScript).deleteFilter},
			{name: "filteraction", tags: []string{"name"}, run: (*netshScript).deleteAction},
			{name: "rule", tags: []string{"name", "id", "policy"}, run: (*netshScript).deleteRule},
			{name: "all", run: (*netshScript).deleteAll},
		}},
		{name: "exportpolicy", severity: SeverityInfo, note: "exportpolicy changes no policy: left out"},
		{name: "importpolicy", severity: SeverityLost, note: "importpolicy reads a file of another kind, which is not imported: write its policies as a script of add commands"},
		{name: "restorepolicyexamples", severity: SeverityLost, note: "restorepolicyexamples has no equivalent: the examples of Windows are for tests only"},
	}
}

func isDescription(tag string) bool { return tag == "description" }

// verbNames are the commands that stand for themselves outside of a context.
func verbNames() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range netshVerbs {
			if !yield(netshVerbs[i].name) {
				return
			}
		}
	}
}

// isVerb reports whether a word is a command in any context, which ends the name of a foreign context.
func isVerb(word string) bool {
	return slices.Contains([]string{"add", "set", "delete", "show", "reset", "dump", "install", "import", "export", "connect", "pushd", "popd", "exit", "quit", "bye"}, word)
}

// findVerb takes a command by its name or the first letters of it, as netsh does.
func findVerb(text string) (*netshVerb, bool) {
	return findByName(netshVerbs, text, func(v *netshVerb) string { return v.name })
}

func (v *netshVerb) find(text string) (*netshObject, bool) {
	return findByName(v.objects, text, func(o *netshObject) string { return o.name })
}

// objectNames lists what a command takes.
func (v *netshVerb) objectNames() string {
	var names []string
	for i := range v.objects {
		names = append(names, v.objects[i].name)
	}
	return strings.Join(names, ", ")
}

// findByName takes the item of that name, else the first whose name starts so, as netsh does.
func findByName[T any](items []T, text string, name func(*T) string) (*T, bool) {
	text = strings.ToLower(text)
	for _, matches := range []func(string) bool{
		func(name string) bool { return name == text },
		func(name string) bool { return text != "" && strings.HasPrefix(name, text) },
	} {
		for i := range items {
			if matches(name(&items[i])) {
				return &items[i], true
			}
		}
	}
	return nil, false
}

// isTag reports whether a word is the tag of any command.
func isTag(text string) bool {
	for i := range netshVerbs {
		for j := range netshVerbs[i].objects {
			if slices.Contains(netshVerbs[i].objects[j].tags, strings.ToLower(text)) {
				return true
			}
		}
	}
	return false
}

// value is what a tag was given, and where.
type value struct {
	text string
	line int
}

// arguments are the values of a command by tag.
type arguments struct {
	line   int
	values map[string]value
}

// arguments assigns the words behind a command to its tags. Its messages never show a value: it may be a secret.
func (s *netshScript) arguments(line int, command string, tags []string, words []word) (*arguments, bool) {
	args := &arguments{line: line, values: map[string]value{}}
	sound, tagged := true, false
	for i, w := range words {
		tagged = tagged || w.tagged
		if !w.tagged && w.value == "?" {
			s.info(line, "%s ? shows help: left out", command)
			return nil, false
		}
		var tag *string
		found := false
		switch {
		case w.tagged:
			tag, found = findByName(tags, w.tag, func(tag *string) string { return *tag })
		case i < len(tags) && !tagged: // behind a tag it is more likely the rest of a value with blanks
			tag, found = &tags[i], true
		}
		switch {
		case w.tagged && !found:
			s.problem(line, "%s: expected one of %s, found the tag %s", command, strings.Join(tags, ", "), quote(w.tag))
			sound = false
		case !found:
			s.problem(line, "%s: expected tag=value, found a value without a tag as number %d: does a value with blanks lack its quotation marks?", command, i+1)
			sound = false
		case args.has(*tag) && *tag != "rootca":
			s.problem(line, "%s: the tag %s is there twice: leave one", command, *tag)
			sound = false
		default:
			args.values[*tag] = value{w.value, line}
		}
	}
	return args, sound
}

func (a *arguments) has(tag string) bool {
	_, has := a.values[tag]
	return has
}
