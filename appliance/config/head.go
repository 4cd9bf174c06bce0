package config

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// Head is what has to be known of a text before it can be checked, or of one that need not be.
type Head struct {
	StateDir     string
	ActivePolicy string
}

// DefaultStateDir is the state folder of a gateway whose configuration names none.
const DefaultStateDir = "/var/lib/sallyport"

// HeadOf reads the head of a text, as far as it can be read. Whether the text is good is Parse's to say. It looks at
// the tree: the YAML package would hold every key of a mapping against every other before it fills a structure.
func HeadOf(text []byte) Head {
	head := Head{StateDir: DefaultStateDir}
	root := newReport("").parse(text)
	if root == nil || root.Kind != yaml.MappingNode {
		return head
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		value := resolve(root.Content[i+1])
		if value.Kind != yaml.ScalarNode || isNull(value) || value.Value == "" {
			continue
		}
		switch resolve(root.Content[i]).Value {
		case "state_dir":
			head.StateDir = value.Value
		case "active_policy":
			head.ActivePolicy = value.Value
		}
	}
	return head
}

// ActivePolicyOf is the active policy that a text names, as far as it can be read. A key at the start of a line is found without reading all of
// a text, of which there may be many, and long ones.
func ActivePolicyOf(text []byte) string {
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("active_policy:")) {
			continue
		}
		if name := HeadOf(line).ActivePolicy; name != "" {
			return name
		}
	}
	return HeadOf(text).ActivePolicy
}
