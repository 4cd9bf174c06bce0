package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SetActivePolicy is the text of a configuration with another value of active_policy. Nothing else of the text changes:
// comments and layout stay (S-001). It fails where the value is written in a way that it cannot replace safely.
func SetActivePolicy(text []byte, name string) ([]byte, error) {
	d, err := openDocument(text)
	if err != nil {
		return nil, err
	}
	if names := d.policyNames(); !slices.Contains(names, name) {
		return nil, errors.New(notKnown("policy", name, names))
	}
	value, err := d.value("active_policy")
	if err != nil {
		return nil, err
	}
	start, end, err := d.scalarSpan(value)
	if err != nil {
		return nil, fmt.Errorf("line %d: cannot replace the value of active_policy: %w: edit the file by hand", value.Line, err)
	}
	edited := slices.Concat(text[:start], []byte(spelling(name, text[start])), text[end:])
	*value = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Anchor: value.Anchor}
	return edited, d.confirm(edited)
}

// policyNames lists the names of the policies in the text.
func (d *document) policyNames() []string {
	policies, err := d.value("policies")
	if err != nil {
		return nil
	}
	var names []string
	for _, policy := range resolve(policies).Content {
		policy = resolve(policy)
		for i := 0; i+1 < len(policy.Content) && policy.Kind == yaml.MappingNode; i += 2 {
			if resolve(policy.Content[i]).Value == "name" {
				names = append(names, resolve(policy.Content[i+1]).Value)
			}
		}
	}
	return names
}

// scalarSpan is where a word stands in the text, with its quotes.
func (d *document) scalarSpan(node *yaml.Node) (start, end int, err error) {
	start = d.offset(node)
	switch {
	case node.Kind == yaml.AliasNode:
		return start, start + len("*") + len(node.Value), nil
	case node.Kind != yaml.ScalarNode || isNull(node):
		return 0, 0, fmt.Errorf("expected a word, found %s", found(node, ""))
	case node.Anchor != "" && hasAliasOf(d.root, node):
		return 0, 0, fmt.Errorf("its anchor &%s is used elsewhere, which would change too", node.Anchor)
	}
	rest := d.text[start:]
	for bytes.HasPrefix(rest, []byte("&")) || bytes.HasPrefix(rest, []byte("!")) { // anchor and tag stay
		rest = bytes.TrimLeft(rest[max(bytes.IndexAny(rest, " \t"), 1):], " \t")
	}
	start = len(d.text) - len(rest)
	for _, quote := range []string{`"`, "'", ""} {
		if written := quote + node.Value + quote; node.Value != "" && bytes.HasPrefix(rest, []byte(written)) {
			return start, start + len(written), nil
		}
	}
	return 0, 0, errors.New("it is not written as one plain or quoted word")
}

// spelling is a name as YAML text in the style of a value that begins with the given octet.
func spelling(name string, first byte) string {
	var plain yaml.Node
	switch {
	case first == '\'':
		return "'" + name + "'"
	case first != '"' && yaml.Unmarshal([]byte("a: "+name), &plain) == nil && plain.Content[0].Content[1].ShortTag() == "!!str":
		return name
	}
	return `"` + name + `"`
}

// confirm reports an edited text whose tree is not the one that was meant.
func (d *document) confirm(edited []byte) error {
	if err := d.root.Decode(new(struct{})); err != nil { // a key that is there twice, which the tree lets pass
		return fmt.Errorf("not valid YAML: %w", err)
	}
	after, err := openDocument(edited)
	if err == nil && !same(d.root, after.root, map[*yaml.Node]*yaml.Node{}) {
		err = errors.New("other values would change too")
	}
	if err != nil {
		return fmt.Errorf("cannot edit the configuration as it is written (%w): edit the file by hand", err)
	}
	return nil
}

// policyParts are the keys of all that Purge removes.
var policyParts = []string{"policies", "filter_lists", "filter_actions", "active_policy"}

// Purge is the text of a configuration without any policy, filter list or filter action: the closed default (S-012).
// Nothing else of the text changes; comments directly above what goes, and inside of it, go too.
func Purge(text []byte) ([]byte, error) {
	d, err := openDocument(text)
	if err != nil {
		return nil, err
	}
	var going []int // indices of pairs
	var staying []*yaml.Node
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if slices.Contains(policyParts, resolve(d.root.Content[i]).Value) {
			going = append(going, i)
		} else {
			staying = append(staying, d.root.Content[i:i+2]...)
		}
	}
	var edited []byte
	if d.root.Style&yaml.FlowStyle != 0 {
		edited = d.withoutFlowPairs(going)
	} else {
		edited = d.withoutBlocks(going)
	}
	d.root.Content = staying
	return edited, d.confirm(edited)
}

// withoutFlowPairs is the text of a mapping in {braces} without some pairs: each goes up to the next one, or to the
// closing brace.
func (d *document) withoutFlowPairs(pairs []int) []byte {
	edited := bytes.Clone(d.text)
	for _, i := range slices.Backward(pairs) {
		start, end := d.offset(d.root.Content[i]), bytes.LastIndexByte(d.text, '}')
		if i+2 < len(d.root.Content) {
			end = d.offset(d.root.Content[i+2])
		}
		edited = slices.Delete(edited, start, max(start, end))
	}
	return edited
}

// withoutBlocks is the text of a mapping in lines without some pairs. One blank line is enough between what remains.
func (d *document) withoutBlocks(pairs []int) []byte {
	gone := make([]bool, len(d.lines)-1)
	for _, i := range pairs {
		first, last := d.block(i)
		for line := first; line <= last; line++ {
			gone[line] = true
		}
	}
	var edited []byte
	afterBlank, afterCut := true, false
	for line, cut := range gone {
		if cut || afterCut && afterBlank && d.isBlank(line) {
			afterCut = true
			continue
		}
		edited = append(edited, d.line(line)...)
		afterBlank, afterCut = d.isBlank(line), false
	}
	return edited
}

// block is the first and the last line of the pair at the index, counted from 0, with the comment directly above it.
func (d *document) block(i int) (first, last int) {
	first, next := d.root.Content[i].Line-1, len(d.lines)-1
	if i+2 < len(d.root.Content) {
		next = d.root.Content[i+2].Line - 1
	}
	last = first
	for line := first; line < next && !d.endsDocument(line); line++ {
		if !d.isBlank(line) && !d.isComment(line) {
			last = line
		}
	}
	above := first
	for above > 0 && d.isComment(above-1) {
		above--
	}
	if above == 0 { // the comment at the head of the file
		return first, last
	}
	return above, last
}

// line is the text of a line, counted from 0.
func (d *document) line(n int) string { return string(d.text[d.lines[n]:d.lines[n+1]]) }

func (d *document) isBlank(n int) bool { return strings.TrimSpace(d.line(n)) == "" }

// isComment reports whether a line has a comment as far to the left as the keys at the top.
func (d *document) isComment(n int) bool {
	text := strings.TrimLeft(d.line(n), " ")
	return strings.HasPrefix(text, "#") && len(d.line(n))-len(text) < d.root.Column
}

// endsDocument reports whether a line has the mark after the last value of a document.
func (d *document) endsDocument(n int) bool { return strings.TrimSpace(d.line(n)) == "..." }
