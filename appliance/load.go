package appliance

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"sallyport/appliance/config"
)

// Loaded is a configuration and the text that it was read from.
type Loaded struct {
	Config *config.Config
	Text   []byte
	Lab    bool   // samples may be active (S-010)
	KeyLog string // file that keys are written to, in a lab; empty: none is

	path     string // as the operator names it
	store    *store
	names    resolvedNames
	resolver config.Resolver
}

// Load reads and checks a configuration file for this machine. DNS names in it
// stand for what they stood for when the gateway last asked (S-020).
func Load(path string, lab bool) (*Loaded, error) { return load(path, lab, net.DefaultResolver) }

func load(path string, lab bool, resolver config.Resolver) (*Loaded, error) {
	text, err := config.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w; name the file with -c FILE", err)
	}
	s := newStore(path, config.HeadOf(text).StateDir)
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	l := &Loaded{Text: text, Lab: lab, path: path, store: s, resolver: resolver}
	if l.Config, err = l.parse(text, names.known()); err != nil {
		return nil, err
	}
	l.names = names.with(l.Config.Names(), false)
	return l, nil
}

// parse reads a text as if it stood in the file.
func (l *Loaded) parse(text []byte, known map[string][]netip.Addr) (*config.Config, error) {
	return config.ParseWith(l.path, text, config.Options{
		Machine: config.ThisMachine(), Lab: l.Lab, Resolver: l.resolver, Known: known, Now: time.Now(),
	})
}
