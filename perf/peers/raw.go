package peers

import (
	"fmt"
	"strconv"
	"strings"
)

// IKESA is an IKE SA as strongSwan reports it.
type IKESA struct {
	UniqueID     string
	State        string // ESTABLISHED when usable
	InitiatorSPI string // hexadecimal; changes with a rekey of the IKE SA
	Initiator    bool
	Children     []ChildSA
}

// ChildSA is a Child SA as strongSwan reports it.
type ChildSA struct {
	State        string // INSTALLED when usable
	SPIIn        uint32
	SPIOut       uint32
	Encapsulated bool // ESP in UDP
	PacketsIn    int
	PacketsOut   int
	Cipher       string
}

// section is a node of swanctl's raw output: KEY=VALUE, NAME {...} and NAME=[...] in any order.
type section struct {
	values   map[string]string
	names    []string // of sections, in order
	sections map[string]*section
}

// parseSAs reads the output of swanctl --list-sas --raw: one line for each IKE SA, which reads
// "list-sa event {NAME {... child-sas {NAME {...}}}}".
func parseSAs(out string) ([]IKESA, error) {
	var all []IKESA
	for line := range strings.Lines(out) {
		body, isSA := strings.CutPrefix(strings.TrimSpace(line), "list-sa event {")
		if !isSA {
			continue
		}
		root, rest, err := parseSection(body)
		if err != nil || rest != "" {
			return nil, fmt.Errorf("peers: expected swanctl's raw list of SAs, found %q (%v)", line, err)
		}
		for _, name := range root.names {
			sa, err := newIKESA(root.sections[name])
			if err != nil {
				return nil, fmt.Errorf("peers: SA %s: %w in %q", name, err, line)
			}
			all = append(all, sa)
		}
	}
	return all, nil
}

// parseSection reads up to the brace that closes the section and returns what follows it.
func parseSection(text string) (*section, string, error) {
	s := &section{values: map[string]string{}, sections: map[string]*section{}}
	for {
		text = strings.TrimLeft(text, " ")
		if text == "" {
			return nil, "", fmt.Errorf("no closing brace")
		}
		if text[0] == '}' {
			return s, text[1:], nil
		}
		end := strings.IndexAny(text, "={} ")
		if end < 1 {
			return nil, "", fmt.Errorf("no name at %q", text)
		}
		name := text[:end]
		rest := strings.TrimLeft(text[end:], " ")
		var err error
		switch {
		case strings.HasPrefix(rest, "{"):
			s.names = append(s.names, name)
			s.sections[name], text, err = parseSection(rest[1:])
		case strings.HasPrefix(rest, "=["):
			s.values[name], text, err = cut(rest[2:], "]")
		case strings.HasPrefix(rest, "="):
			stop := strings.IndexAny(rest, " }")
			if stop < 0 {
				return nil, "", fmt.Errorf("no end of value %s", name)
			}
			s.values[name], text = rest[1:stop], rest[stop:]
		default:
			err = fmt.Errorf("neither value nor section after %q", name)
		}
		if err != nil {
			return nil, "", err
		}
	}
}

// cut splits text at the first mark.
func cut(text, mark string) (before, after string, err error) {
	before, after, found := strings.Cut(text, mark)
	if !found {
		return "", "", fmt.Errorf("no %q", mark)
	}
	return before, after, nil
}

// newIKESA picks the fields that tests look at.
func newIKESA(s *section) (IKESA, error) {
	sa := IKESA{UniqueID: s.values["uniqueid"], State: s.values["state"], InitiatorSPI: s.values["initiator-spi"],
		Initiator: s.values["initiator"] == "yes"}
	children := s.sections["child-sas"]
	if children == nil {
		return sa, nil
	}
	for _, name := range children.names {
		child, err := newChildSA(children.sections[name])
		if err != nil {
			return IKESA{}, err
		}
		sa.Children = append(sa.Children, child)
	}
	return sa, nil
}

// newChildSA picks the fields that tests look at. SPIs are hexadecimal, counts decimal.
func newChildSA(s *section) (ChildSA, error) {
	c := ChildSA{State: s.values["state"], Encapsulated: s.values["encap"] == "yes", Cipher: s.values["encr-alg"]}
	for _, field := range []struct {
		name string
		to   *uint32
	}{{"spi-in", &c.SPIIn}, {"spi-out", &c.SPIOut}} {
		n, err := strconv.ParseUint(s.values[field.name], 16, 32)
		if err != nil {
			return ChildSA{}, fmt.Errorf("%s: %w", field.name, err)
		}
		*field.to = uint32(n)
	}
	for _, field := range []struct {
		name string
		to   *int
	}{{"packets-in", &c.PacketsIn}, {"packets-out", &c.PacketsOut}} {
		n, err := strconv.Atoi(s.values[field.name])
		if err != nil && s.values[field.name] != "" { // absent while a Child SA is made
			return ChildSA{}, fmt.Errorf("%s: %w", field.name, err)
		}
		*field.to = n
	}
	return c, nil
}
