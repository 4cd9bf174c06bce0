package config

import (
	"fmt"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document is a configuration as text beside its YAML tree, so that an edit can change a few octets of the text, and
// then show that the tree has changed in nothing else.
type document struct {
	text  []byte
	root  *yaml.Node // a mapping
	lines []int      // where each line begins, and the end of the text
}

func openDocument(text []byte) (*document, error) {
	r := newReport("configuration")
	root := r.parse(text)
	if err := r.err(); err != nil {
		return nil, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("expected a configuration with keys and values, found %s", found(root, ""))
	}
	return &document{text: text, root: root, lines: lineStarts(text)}, nil
}

// lineStarts finds where lines begin as the YAML package counts them (YAML 1.1, section 4.2), and the end of the text.
func lineStarts(text []byte) []int {
	starts := []int{0}
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		at += size
		switch r {
		case '\r':
			if at < len(text) && text[at] == '\n' {
				at++
			}
			fallthrough
		case '\n', '\u0085', '\u2028', '\u2029':
			starts = append(starts, at)
		}
	}
	return append(starts, len(text))
}

// offset is where a node begins in the text. Its column counts characters.
func (d *document) offset(node *yaml.Node) int {
	at := d.lines[node.Line-1]
	if node.Line == 1 && len(d.text) >= len(byteOrderMark) && string(d.text[:len(byteOrderMark)]) == byteOrderMark {
		at += len(byteOrderMark)
	}
	for range node.Column - 1 {
		_, size := utf8.DecodeRune(d.text[at:])
		at += size
	}
	return at
}

// byteOrderMark may stand before a text in UTF-8 and is no part of it.
const byteOrderMark = "\ufeff"

// value is the value of a key at the top, which has to be there once.
func (d *document) value(key string) (*yaml.Node, error) {
	var value *yaml.Node
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if resolve(d.root.Content[i]).Value != key {
			continue
		}
		if value != nil {
			return nil, fmt.Errorf("expected one %s, found a second in line %d", key, d.root.Content[i].Line)
		}
		value = d.root.Content[i+1]
	}
	if value == nil {
		return nil, fmt.Errorf("expected a key %s at the top, found none", key)
	}
	return value, nil
}

// same reports whether two trees hold the same, anchors and aliases included; where in the text does not matter. twins
// maps nodes of the one tree to those of the other as far as they have been compared.
func same(a, b *yaml.Node, twins map[*yaml.Node]*yaml.Node) bool {
	if a.Kind != b.Kind || a.ShortTag() != b.ShortTag() || a.Value != b.Value || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) {
		return false
	}
	if a.Kind == yaml.AliasNode {
		return twins[a.Alias] == b.Alias
	}
	twins[a] = b
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i], twins) {
			return false
		}
	}
	return true
}

// hasAliasOf reports whether something in the tree refers to the node.
func hasAliasOf(tree, node *yaml.Node) bool {
	if tree.Kind == yaml.AliasNode {
		return tree.Alias == node
	}
	for _, part := range tree.Content {
		if hasAliasOf(part, node) {
			return true
		}
	}
	return false
}
