package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/policy"
)

const (
	maxNames         = 1024             // DNS names of one file
	maxNameAddresses = 64               // of one name; each is a filter
	namesAtOnce      = 16               // questions under way
	nameTimeout      = 10 * time.Second // for all names of a file together
)

// Resolver finds the addresses of a host name. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// ResolvedName is a DNS name that filters use, and what it stands for (S-020).
type ResolvedName struct {
	Name      string
	Addresses []netip.Addr // in address order
	Resolved  time.Time    // when it was asked for; zero where Options.Known had it
}

// Names is every DNS name of the file with its addresses, in the order of names. Filters use these addresses until
// the file is parsed again without them in Options.Known.
func (c *Config) Names() []ResolvedName { return slices.Clone(c.names) }

// namedSpec is one side of a filter that is a DNS name, and its key.
type namedSpec struct {
	key  string
	spec *policy.AddressSpec
}

// resolveNames gives the DNS names in filters their addresses: those known, and those that the resolver finds.
func (b *builder) resolveNames() {
	uses := b.namedSpecs()
	firstUse := map[string]string{}
	var names []string
	for _, use := range uses {
		name, _ := use.spec.DNSName()
		if firstUse[name] == "" {
			firstUse[name], names = use.key, append(names, name)
		}
	}
	if len(names) > maxNames {
		b.add(firstUse[names[maxNames]], "expected at most %d DNS names, found %d", maxNames, len(names))
		return
	}
	addresses := map[string][]netip.Addr{}
	for i, answer := range lookUp(names, b.options) {
		if answer.err != nil {
			note := b.add
			if answer.silent {
				note = b.addTransient
			}
			note(firstUse[names[i]], "expected a DNS name with an address, found %q: %s", names[i], oneLine(answer.err))
			continue
		}
		addresses[names[i]] = answer.Addresses
		b.config.names = append(b.config.names, answer.ResolvedName)
	}
	slices.SortFunc(b.config.names, func(x, y ResolvedName) int { return cmp.Compare(x.Name, y.Name) })
	for _, use := range uses {
		name, _ := use.spec.DNSName()
		*use.spec = use.spec.Resolved(addresses[name])
	}
}

// namedSpecs finds the DNS names in the filters and servers of all lists.
func (b *builder) namedSpecs() []namedSpec {
	var uses []namedSpec
	note := func(spec *policy.AddressSpec, format string, args ...any) {
		if _, named := spec.DNSName(); named {
			uses = append(uses, namedSpec{fmt.Sprintf(format, args...), spec})
		}
	}
	for i := range b.raw.FilterLists {
		list := &b.raw.FilterLists[i]
		for j := range list.Filters {
			note(&list.Filters[j].Source, "filter_lists[%d].filters[%d].source", i, j)
			note(&list.Filters[j].Destination, "filter_lists[%d].filters[%d].destination", i, j)
		}
		for j := range list.Servers {
			note(&list.Servers[j], "filter_lists[%d].servers[%d]", i, j)
		}
	}
	return uses
}

// answer is what there is to say of a name.
type answer struct {
	ResolvedName
	err    error
	silent bool // no resolver has answered, so err says nothing of the name
}

// lookUp finds the addresses of names, several at a time.
func lookUp(names []string, o Options) []answer {
	answers := make([]answer, len(names))
	ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
	defer cancel()
	var group sync.WaitGroup
	turn := make(chan struct{}, namesAtOnce)
	for i, name := range names {
		a := &answers[i]
		a.Name = name
		if known := o.Known[name]; len(known) > 0 {
			a.Addresses, a.err = hostAddresses(known)
			continue
		}
		if o.Resolver == nil {
			a.err = errors.New("its addresses are not known here, and no resolver may be asked")
			continue
		}
		turn <- struct{}{}
		group.Go(func() {
			defer func() { <-turn }()
			found, err := o.Resolver.LookupNetIP(ctx, "ip", name)
			if err == nil {
				found, err = hostAddresses(found)
			} else {
				unknown := (*net.DNSError)(nil)
				a.silent = !errors.As(err, &unknown) || !unknown.IsNotFound
			}
			a.Addresses, a.Resolved, a.err = found, o.Now, err
		})
	}
	group.Wait()
	return answers
}

// hostAddresses checks and sorts what a resolver answered. A name that stands for more than hosts, such as 0.0.0.0 or a
// multicast group, would be a filter that nobody wrote.
func hostAddresses(found []netip.Addr) ([]netip.Addr, error) {
	var hosts []netip.Addr
	for _, address := range found {
		if address = address.Unmap(); !isHost(address) {
			return nil, fmt.Errorf("the resolver answered %s, which is no address of a host", address)
		}
		hosts = append(hosts, address)
	}
	slices.SortFunc(hosts, netip.Addr.Compare)
	hosts = slices.Compact(hosts)
	switch n := len(hosts); {
	case n == 0:
		return nil, errors.New("the resolver answered no address")
	case n > maxNameAddresses:
		return nil, fmt.Errorf("the resolver answered %d addresses, more than %d", n, maxNameAddresses)
	}
	return hosts, nil
}
