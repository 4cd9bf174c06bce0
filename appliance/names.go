package appliance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/appliance/config"
)

// resolvedNames is STATE/resolved.json: what each DNS name stands for until an
// operator has them asked for again (S-020).
type resolvedNames struct {
	Names map[string]resolvedName `json:"names"`
}

type resolvedName struct {
	Addresses []netip.Addr `json:"addresses"`
	Resolved  time.Time    `json:"resolved"`
}

func (s *store) namesPath() string { return filepath.Join(s.state, "resolved.json") }

// names reads the addresses of names; none where there is no file yet.
func (s *store) names() (resolvedNames, error) {
	text, err := s.on.Read(s.namesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return resolvedNames{}, nil
	}
	if err != nil {
		return resolvedNames{}, fmt.Errorf("resolved names: %w; set state_dir to a folder that the gateway may read and write", err)
	}
	var names resolvedNames
	if err := json.Unmarshal(text, &names); err != nil {
		return resolvedNames{}, fmt.Errorf("resolved names: %s: %w; move it away and every name is asked for anew", s.namesPath(), err)
	}
	return names, nil
}

// saveNames writes the addresses of names, if they differ from those that are stored.
func (s *store) saveNames(names resolvedNames) error {
	text, err := json.MarshalIndent(names, "", "  ")
	if err != nil {
		return fmt.Errorf("resolved names: %w", err)
	}
	text = append(text, '\n')
	if present, err := s.on.Read(s.namesPath()); err == nil && bytes.Equal(present, text) {
		return nil
	}
	if err := s.on.MakeFolder(s.state); err != nil {
		return fmt.Errorf("resolved names: %w; set state_dir to a folder that the gateway may write", err)
	}
	if err := replace(s.on, s.namesPath(), text, private); err != nil {
		return fmt.Errorf("resolved names: %w", err)
	}
	return nil
}

// known is the map that a configuration is read with.
func (n resolvedNames) known() map[string][]netip.Addr {
	known := make(map[string][]netip.Addr, len(n.Names))
	for name, resolved := range n.Names {
		known[name] = resolved.Addresses
	}
	return known
}

// equal reports whether the name stands for the same.
func (n resolvedName) equal(other resolvedName) bool {
	return slices.Equal(n.Addresses, other.Addresses) && n.Resolved.Equal(other.Resolved)
}

// with is the names after a configuration was read that uses these. Names that
// it does not use are kept for one that does, such as a backup, until all are
// asked for again.
func (n resolvedNames) with(used []config.ResolvedName, fresh bool) resolvedNames {
	after := resolvedNames{Names: map[string]resolvedName{}}
	if !fresh {
		maps.Copy(after.Names, n.Names)
	}
	for _, name := range used {
		if !name.Resolved.IsZero() {
			after.Names[name.Name] = resolvedName{Addresses: name.Addresses, Resolved: name.Resolved.UTC()}
		}
	}
	return after
}

// since lists the names that stand for something else than they did.
func (n resolvedNames) since(before resolvedNames) []string {
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(n.Names)) {
		is, was := n.Names[name], before.Names[name]
		if slices.Equal(is.Addresses, was.Addresses) {
			continue
		}
		text := fmt.Sprintf("dns:%s: now %s", name, strings.Join(texts(is.Addresses), ", "))
		if len(was.Addresses) > 0 {
			text += ", before " + strings.Join(texts(was.Addresses), ", ")
		}
		notes = append(notes, text)
	}
	return notes
}
