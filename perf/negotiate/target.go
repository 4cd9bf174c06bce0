package negotiate

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/perf/ikebench"
	"sallyport/perf/lab"
	"sallyport/policy"
)

// Target is a gateway that is there already, whoever made it. It has to have the peers in its configuration, by their addresses or as any, and to send what is for them
// to the source: all of them are behind it.
type Target struct {
	lab.Target
	Peers     netip.Prefix   // that the peers' addresses are of; zero: 10.64.0.0/10
	Hosts     netip.Prefix   // that the one host behind each is of; zero: 10.128.0.0/10
	Protected netip.Prefix   // what the target protects for them; zero: 10.1.0.0/24
	ID        string         // what the target calls itself; empty: its address
	PSKFile   string         // for preshared keys: the one of all peers
	CAFile    string         // for certificates: who has issued that of the target, in PEM, and whom it trusts
	CAKeyFile string         // its key, by which each peer gets a certificate
	IKE, ESP  string         // proposals; empty: those of a gateway of ours
	From      *lab.Namespace // whose interface is meant; nil: this host
	// Spent is the CPU time that the target has had. Nil: nobody knows.
	Spent func() (time.Duration, error)

	psk       string
	ca, caKey []byte
	id        ike.Identity
}

// What a target may do in place of what it should. A target that is down is lab.ErrDown.
var (
	ErrRefused  = errors.New("the target refuses")
	ErrUsurped  = errors.New("somebody answers for others")
	ErrUnproven = errors.New("the target begins and does not end")
)

// site is who negotiates with whom about what.
type site struct {
	gateway          netip.Addr
	id               ike.Identity // zero: the address
	peers, hosts     netip.Prefix
	lan              netip.Prefix
	ike, esp, espPFS string
}

// ours is the site of a gateway that is started here.
var ours = site{gateway: gatewayAddress, peers: netip.MustParsePrefix("10.64.0.0/10"), hosts: netip.MustParsePrefix("10.128.0.0/10"), lan: gatewayLAN,
	ike: ikeProposal, esp: childProposal, espPFS: childProposal + childGroup}

// site of a target is ours where nothing else is said.
func (t *Target) site() site {
	s := ours
	s.gateway, s.id = t.Gateway, t.id
	for _, given := range []struct{ prefix, into *netip.Prefix }{{&t.Peers, &s.peers}, {&t.Hosts, &s.hosts}, {&t.Protected, &s.lan}} {
		if given.prefix.IsValid() {
			*given.into = given.prefix.Masked()
		}
	}
	s.ike = cmp.Or(t.IKE, s.ike)
	if t.ESP != "" {
		s.esp, s.espPFS = t.ESP, t.ESP // with the group in it, if there is to be PFS
	}
	return s
}

// callerAddress is where a peer is, and hostAddress the one host behind it, by the peer's number.
func (s *site) callerAddress(number int) netip.Addr { return numbered(s.peers, number) }
func (s *site) hostAddress(number int) netip.Addr   { return numbered(s.hosts, number) }

// numbered leaves out the first address of a network.
func numbered(network netip.Prefix, number int) netip.Addr {
	var b [4]byte
	first := network.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(first[:])+uint32(number)+1)
	return netip.AddrFrom4(b)
}

// room is how many addresses of a network there are for peers: without the first and the last.
func room(network netip.Prefix) int { return max(1<<(32-network.Bits())-2, 0) }

// validate finds what is wrong with a target, and with that many peers of it by those ways to authenticate; it reads the files.
func (t *Target) validate(peers int, auth []string) error {
	errs := []error{t.Target.Validate()}
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("negotiate: "+format, args...)) }
	s := t.site()
	networks := []struct {
		what string
		of   netip.Prefix
	}{{"peers", s.peers}, {"hosts", s.hosts}, {"protected", s.lan}}
	for i, n := range networks {
		if !n.of.Addr().Is4() {
			wrong("%s %s: expected a network of IPv4", n.what, n.of)
			continue
		}
		for _, other := range networks[:i] {
			if n.of.Overlaps(other.of) {
				wrong("%s %s: expected another network than that of %s, %s", n.what, n.of, other.what, other.of)
			}
		}
		if have := room(n.of); n.what != "protected" && have < peers {
			wrong("%s %s: %d peers would be needed, each for one connection, and there are addresses for %d: expected a larger network, or less time, fewer intervals or --peers", n.what, n.of, peers, have)
		}
	}
	if s.peers.Contains(t.Gateway) || s.peers.Contains(t.Source) {
		wrong("peers %s: expected a network behind %s, without it and the target", s.peers, t.Source)
	}
	if _, err := crypto.ParseIKEProposal(s.ike); err != nil {
		wrong("%w", err)
	}
	if _, err := crypto.ParseESPProposal(s.esp); err != nil {
		wrong("%w", err)
	}
	if t.ID != "" {
		var err error
		if t.id, err = ike.ParseIdentity(t.ID); err != nil {
			wrong("%w", err)
		}
	}
	return errors.Join(append(errs, t.read(auth))...)
}

// maxSecretFile is more than a key or a certificate takes, in octets.
const maxSecretFile = 1 << 16

// read reads what the peers authenticate with.
func (t *Target) read(auth []string) error {
	var errs []error
	file := func(flag, name, what string, into *[]byte) {
		if name == "" {
			errs = append(errs, fmt.Errorf("negotiate: --%s is missing: expected a file with %s", flag, what))
			return
		}
		f, err := os.Open(name)
		if err == nil {
			*into, err = io.ReadAll(io.LimitReader(f, maxSecretFile))
			err = errors.Join(err, f.Close())
		}
		if err == nil && len(strings.TrimSpace(string(*into))) == 0 {
			err = fmt.Errorf("%s: expected %s, found nothing", name, what)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("negotiate: --%s: %w", flag, err))
		}
	}
	for _, a := range auth {
		if _, certified := keys[a]; !certified {
			var psk []byte
			file("psk-file", t.PSKFile, "the preshared key of all peers", &psk)
			t.psk = strings.TrimSuffix(strings.TrimSuffix(string(psk), "\n"), "\r")
		} else if t.ca == nil {
			file("ca", t.CAFile, "the certificate of the CA that the target trusts, in PEM", &t.ca)
			file("ca-key", t.CAKeyFile, "the CA's private key in PEM, by which each peer gets a certificate", &t.caKey)
		}
	}
	return errors.Join(errs...)
}

// authority issues the peers' certificates.
func (t *Target) authority(kind ikebench.Keys) (*ikebench.Authority, error) {
	return ikebench.LoadAuthority(kind, t.ca, t.caKey, time.Now)
}

// reach is the link to a target in place of a gateway of our own.
func (o *Options) reach(ctx context.Context) (b *bed, err error) {
	b = &bed{target: o.Target}
	from := o.Target.From
	if from == nil {
		if b.Lab, err = lab.New(); err != nil {
			return nil, err
		}
		from = b.Here()
	}
	if b.wire, err = o.Target.Reach(ctx, from, o.askLimit); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// close takes down what was started here.
func (b *bed) close() error {
	if b.Lab == nil {
		return nil
	}
	return b.Close()
}

// begin has one peer connect before thousands do: what a target does instead is found with it.
func (c *callers) begin(ctx context.Context, o *Options) error {
	r := &round{plan: plan{callers: 1, bound: 1}, silence: o.askLimit, spent: func() (time.Duration, error) { return 0, nil }}
	if err := c.run(ctx, r); err != nil {
		return err
	}
	return c.blame(r)
}

// blame says why nobody has got through to a target.
func (c *callers) blame(r *round) error {
	t, version := c.series.site.gateway, c.series.version
	switch {
	case c.wire.Usurped > 0:
		return fmt.Errorf("negotiate: %w: there is another %s on the link: expected an address that nobody has (--source)", ErrUsurped, c.wire.Address)
	case c.wire.Rivals > 0:
		return fmt.Errorf("negotiate: %w: two MAC addresses answer for %s: expected one", ErrUsurped, c.wire.Gateway)
	case r.Completed > 0:
		return nil
	case c.stranger.IsValid():
		return fmt.Errorf("negotiate: %w: %s has answered what was for %s: expected answers of whom was asked", ErrUsurped, c.stranger, t)
	case c.heard == 0:
		return fmt.Errorf("negotiate: %w: %s gives %s no answer to a first message of IKE%s: expected a gateway that has it as a peer of IKE%[4]s, and a route to it by %[5]s",
			lab.ErrDown, t, c.series.site.callerAddress(r.from), version, c.wire.Address)
	}
	for why := range r.failures {
		if why != noEnd {
			return fmt.Errorf("negotiate: %w peer %s by IKE%s: %s: expected its preshared key or CA (--psk-file, --ca), proposals %s and %s, and %s for %s", ErrRefused,
				c.series.site.callerAddress(r.from), version, why, c.series.site.ike, c.series.espProposal(), c.series.site.hostAddress(r.from), c.series.site.lan)
		}
	}
	return fmt.Errorf("negotiate: %w: %s has answered %d messages of IKE%s, and none of %d connections is complete", ErrUnproven, t, c.heard, version, r.Initiated)
}

// leaveLimit is how long a target may take to take its leave of all peers.
const leaveLimit = 20 * time.Second

// leave ends what the peers have made at a target, as far as it answers in time.
func (c *callers) leave(ctx context.Context) error {
	end, told := time.Now().Add(leaveLimit), 0
	rest := c.list[:c.called]
	for (len(rest) > 0 || c.left < told) && time.Now().Before(end) && ctx.Err() == nil {
		for ; len(rest) > 0 && told-c.left < callsAtOnce; rest = rest[1:] {
			if rest[0].connected {
				told++
				c.step(ike.Terminate{Peer: rest[0].name})
			}
		}
		if _, err := c.turn(); err != nil {
			return err
		}
		if err := c.wire.Wait(longestWait); err != nil {
			return err
		}
	}
	return nil
}

// selectors are what a peer's Child SA is for.
func (s *site) selectors(number int) []policy.Selector {
	return []policy.Selector{{Local: policy.HostRange(s.hostAddress(number)), Remote: policy.RangeOf(s.lan), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
}
