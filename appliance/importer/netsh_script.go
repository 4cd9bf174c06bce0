package importer

import (
	"path"
	"slices"
	"strings"
	"unicode"
)

// netshScript runs a script on a policy store of its own, as netsh would run it on that of a machine.
type netshScript struct {
	*report
	store      store
	context    []string   // where netsh is: ["ipsec", "static"] for our commands
	stack      [][]string // of pushd
	assumed    bool       // the note that no context was named is there
	brokenLine bool       // the line before had a quotation mark too few or too many, and this may be its end
	exemptions exemptions
}

func newNetshScript(r *report) *netshScript {
	return &netshScript{report: r, store: newStore()}
}

// dynamic is the context of what is in force on a running machine.
var dynamic = []string{"ipsec", "dynamic"}

// foreignContexts are other contexts of netsh, which have nothing for a gateway's policy.
var foreignContexts = []string{"advfirewall", "branchcache", "bridge", "dhcpclient", "dnsclient", "firewall", "http", "interface", "lan", "namespace", "netio",
	"p2p", "ras", "rpc", "trace", "wcn", "wfp", "winhttp", "winsock", "wlan"}

// batchWords are commands of batch files that change nothing in a policy; conditional those that decide whether others run.
var (
	batchWords  = []string{"echo", "echo.", "pause", "cls", "title", "color", "setlocal", "endlocal", "gpupdate", "net", "sc", "reg", "timeout", "cd", "chcp", "start", "whoami"}
	conditional = []string{"if", "for", "goto", "call", ")", "(", "else"}
)

// run runs a line.
func (s *netshScript) run(l textLine) {
	text := strings.TrimLeft(strings.TrimSpace(l.text), "@")
	if text == "" || isComment(text) {
		return
	}
	first := strings.ToLower(strings.Fields(text)[0])
	switch {
	case slices.Contains(batchWords, first) || strings.HasPrefix(first, "echo."):
		s.info(l.number, "%s is no command of netsh: left out", first)
		return
	case slices.Contains(conditional, first) || strings.HasPrefix(first, ":"):
		s.lost(l.number, "%s is of batch files and is not run: what depends on it is imported as it stands, in the order of lines", quote(first))
		return
	}
	words, err := splitWords(text, isTag)
	if err != nil {
		s.problem(l.number, "%s", err)
		s.brokenLine = true
		return
	}
	s.command(l.number, words)
	s.brokenLine = false
}

// command finds the context of a command and runs it there.
func (s *netshScript) command(line int, words []word) {
	context := s.context
	program := isProgram(words[0])
	if program {
		context, words = s.options(line, words[1:])
	}
	entered := len(words)
	context, words = walk(context, words)
	if len(words) == 0 {
		if entered > 0 || len(context) > 0 && program {
			s.enter(line, context)
		}
		return
	}
	switch verb := strings.ToLower(words[0].value); {
	case words[0].tagged:
		s.unknownVerb(line, words[0].tag)
	case verb == "pushd":
		s.stack = append(s.stack, s.context)
		if len(s.stack) > maxDepth {
			s.problem(line, "expected at most %d contexts inside each other, found more: is a popd missing?", maxDepth)
			s.stack = s.stack[:maxDepth]
		}
		to, rest := walk(nil, words[1:])
		if len(rest) > 0 {
			s.problem(line, "expected a context of netsh (ipsec static), found %s", s.show(rest[0].value))
		}
		s.enter(line, to)
	case verb == "popd":
		if len(s.stack) == 0 {
			s.problem(line, "popd without a pushd before it")
			return
		}
		s.context, s.stack = s.stack[len(s.stack)-1], s.stack[:len(s.stack)-1]
	case slices.Contains([]string{"exit", "quit", "bye", "abort", "commit", "online", "offline", "help", "?", "dump", "show"}, verb):
		s.info(line, "%s changes no policy: left out", verb)
	case len(context) > 0 && slices.Contains(foreignContexts, context[0]):
		if program {
			s.lost(line, "netsh %s has no equivalent: only netsh ipsec static is imported", context[0])
		}
	case slices.Equal(context, dynamic):
		s.dynamicCommand(line, words)
	case len(context) == 0 && !program && !slices.Contains(slices.Collect(verbNames()), verb):
		s.unknownVerb(line, words[0].value)
	default:
		s.staticCommand(line, context, words)
	}
}

// maxDepth is the most contexts, or sections, inside each other.
const maxDepth = 64

// isProgram reports whether the first word starts netsh.
func isProgram(w word) bool {
	name := strings.ToLower(path.Base(strings.ReplaceAll(w.value, `\`, "/")))
	return !w.tagged && strings.TrimSuffix(name, ".exe") == "netsh"
}

// options takes the options of the program off: -c CONTEXT, and those that have no meaning here.
func (s *netshScript) options(line int, words []word) ([]string, []word) {
	var context []string
	for len(words) > 1 && len(words[0].value) == 2 && strings.ContainsRune("-/", rune(words[0].value[0])) {
		switch option := words[0].value[1:]; option {
		case "c":
			context, _ = walk(nil, splitContext(words[1].value))
		case "f":
			s.lost(line, "netsh -f runs another script: import that file too")
		default:
			s.lost(line, "option -%s of netsh has no equivalent", option)
		}
		words = words[2:]
	}
	return context, slices.DeleteFunc(slices.Clone(words), isRedirection)
}

// splitContext is the words of a quoted context.
func splitContext(text string) []word {
	var words []word
	for part := range strings.FieldsSeq(text) {
		words = append(words, word{value: part})
	}
	return words
}

// isRedirection reports whether a word sends the output of a command elsewhere: >nul, 2>nul.
func isRedirection(w word) bool {
	return !w.tagged && !w.quoted && (strings.HasPrefix(w.value, ">") || strings.HasPrefix(w.value, "1>") || strings.HasPrefix(w.value, "2>"))
}

// walk follows the words that name contexts, and returns what is left.
func walk(context []string, words []word) ([]string, []word) {
	for len(words) > 0 && !words[0].tagged {
		name := strings.ToLower(words[0].value)
		switch {
		case name == ".." && len(context) > 0:
			context = context[:len(context)-1]
		case name == ".." || name == "netsh":
		case len(context) == 0 && (name == "ipsec" || slices.Contains(foreignContexts, name)):
			context = []string{name}
		case slices.Equal(context, []string{"ipsec"}) && (name == "static" || name == "dynamic"):
			context = []string{"ipsec", name}
		case len(context) > 0 && slices.Contains(foreignContexts, context[0]) && !isVerb(name):
			context = append(context[:len(context):len(context)], name)
		default:
			return context, words
		}
		words = words[1:]
	}
	return context, words
}

// enter changes the context for the lines that follow.
func (s *netshScript) enter(line int, context []string) {
	if len(context) > 0 && slices.Contains(foreignContexts, context[0]) {
		s.lost(line, "the lines in context %s have no equivalent: only ipsec static is imported", quote(strings.Join(context, " ")))
	}
	s.context = context
}

// unknownVerb reports a command that does not exist. What may be the rest of a broken line is not shown: it may be a secret.
func (s *netshScript) unknownVerb(line int, verb string) {
	if s.brokenLine {
		s.problem(line, "expected a command (add, set, delete), found none: is this the end of the line before?")
		return
	}
	const commands = "add, set, delete, show, pushd, popd, netsh"
	if strings.ContainsFunc(verb, func(c rune) bool { return !unicode.IsLetter(c) }) {
		s.problem(line, "expected a command (%s), found something else, which is not shown because it may be a key that a line break has cut off", commands)
		return
	}
	s.problem(line, "expected a command (%s), found %s", commands, quote(verb))
}

// show is a word for a message, unless it may be a part of a secret.
func (s *netshScript) show(text string) string {
	if s.brokenLine {
		return "something else"
	}
	return quote(text)
}

// dynamicCommand takes the one setting of the dynamic context that has an equivalent: the level of exemptions.
func (s *netshScript) dynamicCommand(line int, words []word) {
	values := map[string]string{}
	for _, w := range words {
		values[strings.ToLower(w.tag)] = w.value
	}
	level := values["value"]
	if !strings.EqualFold(words[0].value, "set") || !strings.EqualFold(values["property"], "ipsecexempt") {
		s.lost(line, "netsh ipsec dynamic changes a running machine only: left out; what it had in force is in netsh ipsec static")
		return
	}
	if len(level) != 1 || level[0] < '0' || level[0] > '3' {
		s.problem(line, "expected a level of exemptions, value=0 to value=3, found %s", quote(level))
		return
	}
	s.exemptions = exemptions{set: true, level: int(level[0] - '0'), line: line}
	s.info(line, "level %s of exemptions: \"sallyport exempt show --level %s\" lists what it lets through", level, level)
}

// staticCommand runs a command of ipsec static.
func (s *netshScript) staticCommand(line int, context []string, words []word) {
	verb, known := findVerb(words[0].value)
	if !known {
		s.unknownVerb(line, words[0].value)
		return
	}
	if len(context) < 2 && !s.assumed {
		s.assumed = true
		s.info(line, "no context is named before this line: ipsec static is assumed")
	}
	if verb.note != "" {
		s.note(line, verb.severity, "%s", verb.note)
		return
	}
	if len(words) < 2 || words[1].tagged {
		s.problem(line, "expected what to %s (%s), found nothing", verb.name, verb.objectNames())
		return
	}
	object, known := verb.find(words[1].value)
	if !known {
		s.problem(line, "expected what to %s (%s), found %s", verb.name, verb.objectNames(), s.show(words[1].value))
		return
	}
	if object.note != "" {
		s.note(line, object.severity, "%s", object.note)
		return
	}
	if args, sound := s.arguments(line, verb.name+" "+object.name, object.tags, words[2:]); sound {
		object.run(s, args)
	}
}
