package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// keysOf lists the keys of a structure, each with its default as the reference writes it.
func keysOf(structure reflect.Type, path string, keys map[string]string) {
	for _, field := range reflect.VisibleFields(structure) {
		key, kind := join(path, field.Tag.Get("mapstructure")), field.Type
		if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct && !isText(kind.Elem()) {
			keysOf(kind.Elem(), key+"[]", keys)
			continue
		}
		if kind.Kind() == reflect.Struct && !isText(kind) {
			keysOf(kind, key, keys)
			continue
		}
		value, hasDefault := field.Tag.Lookup("default")
		_, required := field.Tag.Lookup("required")
		switch {
		case hasDefault:
			keys[key] = "`" + value + "`"
		case required:
			keys[key] = "-"
		default:
			keys[key] = "none"
		}
	}
}

// The reference has a row with the right default for every key of the file, and no other rows.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../../configs/REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	keysOf(reflect.TypeFor[fileRoot](), "", keys)
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 {
			t.Errorf("expected 4 cells, found %d in %s", len(cells), line)
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		key := strings.Trim(cells[0], "`")
		want, known := keys[key]
		switch {
		case !known:
			t.Errorf("%s is in the reference but not in the file's structure", key)
		case documented[key]:
			t.Errorf("%s is in the reference twice", key)
		case cells[2] != want:
			t.Errorf("%s: the reference has default %s, the structure %s", key, cells[2], want)
		case cells[1] == "" || cells[3] == "":
			t.Errorf("%s: no unit or no meaning", key)
		}
		documented[key] = true
	}
	for key := range keys {
		if !documented[key] {
			t.Errorf("%s is not in the reference", key)
		}
	}
}

// The default socket and state folder are those that commands use without a configuration.
func TestDefaultPaths(t *testing.T) {
	keys := map[string]string{}
	keysOf(reflect.TypeFor[fileRoot](), "", keys)
	if want := "`" + DefaultSocket + "`"; keys["control.socket"] != want {
		t.Errorf("default of control.socket %s, want %s", keys["control.socket"], want)
	}
	if want := "`" + DefaultStateDir + "`"; keys["state_dir"] != want {
		t.Errorf("default of state_dir %s, want %s", keys["state_dir"], want)
	}
}
