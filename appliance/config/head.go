package config

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// Head is what has to be known of a text before it can be checked, or of one that need not be.
type Head struct {
	StateDir     string `yaml:"state_dir"`
	ActivePolicy string `yaml:"active_policy"`
}

// DefaultStateDir is the state folder of a gateway whose configuration names none.
const DefaultStateDir = "/var/lib/sallyport"

// HeadOf reads the head of a text, as far as it can be read. Whether the text is good is Parse's to say.
func HeadOf(text []byte) Head {
	var head Head
	if err := yaml.Unmarshal(text, &head); err != nil || head.StateDir == "" {
		head.StateDir = DefaultStateDir
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
		var head Head
		if yaml.Unmarshal(line, &head) == nil && head.ActivePolicy != "" {
			return head.ActivePolicy
		}
	}
	return HeadOf(text).ActivePolicy
}
