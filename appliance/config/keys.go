package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxMultiplied bounds how many values aliases can add to those that a file has.
const maxMultiplied = 1 << 20

// parse reads the file as one YAML document; nil after an error that leaves nothing to check.
func (r *report) parse(data []byte) *yaml.Node {
	if !r.isText(data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, more yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		r.add("", "the file is empty: expected a configuration")
		return nil
	case err != nil:
		r.addSyntaxError(err, data)
		return nil
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		r.add("", "expected one YAML document, found something after it (after a line ---)")
	}
	return resolve(document.Content[0])
}

// syntaxError is how the YAML package words an error.
var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// unknownAnchor is how it words that nothing has the name behind a *. The name is not shown: a preshared key may begin so.
var unknownAnchor = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced`)

// colonInText is how it words what is mostly a value with a colon in it.
const colonInText = "mapping values are not allowed in this context"

// noToken is how it words a tab that indents, mostly.
const noToken = "found character that cannot start any token"

func (r *report) addSyntaxError(err error, data []byte) {
	if parts := unknownAnchor.FindStringSubmatch(err.Error()); parts != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+parts[1]))
		r.addAt(1+bytes.Count(before, []byte("\n")), "", "not valid YAML: unknown anchor behind *: text that begins with * has to be in quotes")
		return
	}
	parts := syntaxError.FindStringSubmatch(err.Error())
	if parts == nil {
		parts = []string{"", "", err.Error()}
	}
	line, _ := strconv.Atoi(parts[1]) // 0 without one
	if parts[2] == colonInText {
		parts[2] += ": text that holds a colon before a space, or ends in one, has to be in quotes"
	}
	if parts[2] == noToken {
		parts[2] += ": a tab, or a word that begins with @, % or `: spaces indent, and such a word has to be in quotes"
	}
	r.addAt(line, "", "not valid YAML: %s", parts[2])
}

// walker holds a YAML tree against a Go structure and builds the tree that mapstructure decodes: known keys only,
// defaults filled in, text as it was written (an identity 010 is not the number 8).
type walker struct {
	*report
	nodes   int
	most    int // nodes
	schemas map[reflect.Type]*schema
}

// schema is the keys that a structure has.
type schema struct {
	fields   map[string]reflect.StructField
	names    []string       // of the keys, sorted
	defaults map[string]any // of keys that need not be there
}

// checkKeys is the tree of the file, with everything that cannot be decoded reported and left out; nil after an error that leaves nothing to check.
func (r *report) checkKeys(root *yaml.Node) map[string]any {
	return r.checkKeysWith(root, maxMultiplied)
}

// checkKeysWith is checkKeys with another bound of what aliases add.
func (r *report) checkKeysWith(root *yaml.Node, multiplied int) map[string]any {
	w := &walker{report: r, most: nodes(root) + multiplied, schemas: map[reflect.Type]*schema{}}
	tree, _ := w.mapping(root, reflect.TypeFor[fileRoot](), "").(map[string]any)
	if w.nodes > w.most {
		w.add("", "more than %d values by aliases: expected a configuration file, without aliases that multiply", multiplied)
		return nil
	}
	return tree
}

// nodes is how many there are, each alias for one.
func nodes(node *yaml.Node) int {
	n := 1
	for _, child := range node.Content {
		n += nodes(child)
	}
	return n
}

// value is the node as a value for the type, or nil where it cannot be one.
func (w *walker) value(node *yaml.Node, want reflect.Type, path string) any {
	if w.nodes++; w.nodes > w.most {
		return nil
	}
	switch {
	case isText(want):
		return w.text(node, path)
	case want.Kind() == reflect.Struct:
		return w.mapping(node, want, path)
	case want.Kind() == reflect.Slice:
		return w.sequence(node, want, path)
	case want.Kind() == reflect.Bool:
		return scalar[bool](w, node, path, "!!bool", "true or false")
	case want.Kind() == reflect.Int:
		return scalar[int](w, node, path, "!!int", "a whole number")
	}
	panic(fmt.Sprintf("config: no rule for type %s of key %s", want, path))
}

func (w *walker) text(node *yaml.Node, path string) any {
	if node.Kind != yaml.ScalarNode {
		w.breakAt(path, "expected text, found %s", found(node, path))
		return nil
	}
	return node.Value
}

func scalar[T any](w *walker, node *yaml.Node, path, tag, expected string) any {
	var value T
	if node.Kind != yaml.ScalarNode || node.ShortTag() != tag || node.Decode(&value) != nil {
		w.breakAt(path, "expected %s, found %s", expected, found(node, path))
		return nil
	}
	return value
}

func (w *walker) sequence(node *yaml.Node, want reflect.Type, path string) any {
	if node.Kind != yaml.SequenceNode {
		w.breakAt(path, "expected a list, found %s", found(node, path))
		return nil
	}
	list := []any{}
	for i, item := range node.Content {
		item = resolve(item)
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		w.lines[itemPath] = item.Line
		if isNull(item) {
			w.breakAt(itemPath, "expected a value, found nothing after the dash")
			list = append(list, nil)
			continue
		}
		list = append(list, w.value(item, want.Elem(), itemPath))
	}
	return list
}

func (w *walker) mapping(node *yaml.Node, want reflect.Type, path string) any {
	tree := map[string]any{}
	var pairs []pair
	switch {
	case node == nil:
	case node.Kind == yaml.MappingNode:
		pairs = w.pairs(node, path)
	default:
		w.breakAt(path, "expected keys with values, found %s", found(node, path))
		return nil
	}
	known := w.schemaOf(want)
	for _, p := range pairs {
		key := join(path, p.key.Value)
		field, has := known.fields[p.key.Value]
		if !has && mayBeSecret(p.key.Value, path, known.names) {
			w.addAt(p.key.Line, path, "unknown key, which is not shown because it may be a secret itself: expected one of %s", strings.Join(known.names, ", "))
			continue
		}
		if !has {
			w.lines[key] = p.key.Line
			w.add(key, "%s", unknown(p.key.Value, path, known.names))
			continue
		}
		if _, again := w.lines[key]; again {
			w.addAt(p.key.Line, key, "the key is there twice, first in line %d: leave one", w.lines[key])
			continue
		}
		w.lines[key] = p.key.Line
		if isNull(p.value) {
			w.empty[key] = true
			continue
		}
		tree[p.key.Value] = w.value(p.value, field.Type, key)
	}
	w.complete(tree, known, path)
	return tree
}

// complete fills in the defaults of keys that are not there, and reports the required ones.
func (w *walker) complete(tree map[string]any, known *schema, path string) {
	for _, name := range known.names {
		if _, there := tree[name]; there {
			continue
		}
		field := known.fields[name]
		if expected, required := field.Tag.Lookup("required"); required {
			w.add(join(path, name), "is missing: expected %s", expected)
		} else if value, has := known.defaults[name]; has {
			tree[name] = value
		} else if field.Type.Kind() == reflect.Struct && !isText(field.Type) {
			tree[name] = w.mapping(nil, field.Type, join(path, name))
		}
	}
}

// schemaOf finds the keys of a structure, once.
func (w *walker) schemaOf(structure reflect.Type) *schema {
	if known := w.schemas[structure]; known != nil {
		return known
	}
	known := &schema{fields: map[string]reflect.StructField{}, defaults: map[string]any{}}
	for _, field := range reflect.VisibleFields(structure) {
		name := field.Tag.Get("mapstructure")
		known.fields[name] = field
		text, has := field.Tag.Lookup("default")
		if !has {
			continue
		}
		var value any = text
		if !isText(field.Type) {
			if err := yaml.Unmarshal([]byte(text), &value); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", name, err))
			}
		}
		known.defaults[name] = value
	}
	known.names = sortedKeys(known.fields)
	w.schemas[structure] = known
	return known
}

// pair is one key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

// pairs lists a mapping.
func (w *walker) pairs(node *yaml.Node, path string) []pair {
	var pairs []pair
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := resolve(node.Content[i]), resolve(node.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			w.addAt(key.Line, path, "expected a word as key, found %s", found(key, path))
			continue
		}
		pairs = append(pairs, pair{key, value})
	}
	return pairs
}

// resolve follows an alias (*name) to its anchor.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// isNull reports whether the node is a key's empty value, which is as good as no key.
func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// secretPaths begin the keys whose values are not shown: a secret may stand there by mistake.
var secretPaths = []string{"peers[].auth", "policies[].default_response.auth", "sas[].key_", "sas[].ah_key_"}

// found is what was found, for a message. Text is quoted, because it may be anything, but not where it may be a key.
func found(node *yaml.Node, path string) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "keys with values"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case slices.ContainsFunc(secretPaths, func(secret string) bool { return strings.HasPrefix(schemaPath(path), secret) }):
		return "text"
	default:
		return fmt.Sprintf("%q", node.Value)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
