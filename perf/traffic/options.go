package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/perf/report"
	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
)

// Options are those of the command. The zero value of each has a default but for the gateway and the devices.
type Options struct {
	Gateway                string // its configuration
	Protected, Unprotected string // devices
	// ProtectedMAC and UnprotectedMAC are the gateway's, for one that answers neither ARP nor ND.
	ProtectedMAC, UnprotectedMAC string
	Clear                        []string // pairs of prefixes, NEAR=FAR, in place of the gateway's SAs
	Tunnels                      int      // so many of the gateway's, the first ones; 0: all
	Proposal                     string   // that IKE offers for ESP; empty: the first of the gateway's own
	AtOnce                       int      // tunnels that are negotiated at once
	Directions                   []string // outbound, inbound; none: both
	Flows                        int
	Sizes                        string
	Order                        string
	Exponent                     float64
	Rate                         string
	Burst                        int
	Duration                     time.Duration
	Wait                         time.Duration // for an answer of the gateway to ARP or ND, and for anything to come of IKE
	Sequence                     uint64        // the last number that SAs to the gateway have sent
	Cores                        []int
	Sleep                        bool
	HugePages                    string
	Quick                        bool
	JSON                         string    // file for the report
	Command                      []string  // as it was given, for the report
	Out, Progress                io.Writer // nil: standard output and nowhere
}

// ErrVerdict says that the target does not forward as it should.
var ErrVerdict = errors.New("traffic: the target does not forward as it should")

// ErrInterrupted says that what was measured is a part.
var ErrInterrupted = errors.New("traffic: interrupted")

const (
	memoryMB   = 256      // of DPDK, without SAs
	octetsOfSA = 4 << 10  // of DPDK's memory, for its keys
	mostMemory = 64 << 10 // MB that are asked for at most
)

// memory is what DPDK needs for the SAs, in MB. More tunnels than fit half of what the kernel can give are refused.
func (c *Config) memory(available uint64) (int, error) {
	if len(c.Tunnels) == 0 || c.Tunnels[0].clear() {
		return memoryMB, nil
	}
	each := uint64(2 * octetsOfSA * c.mostSAs() / len(c.Tunnels))
	most := min(available/2, mostMemory<<20) / each
	if uint64(len(c.Tunnels)) > most {
		return 0, &TooMuch{"tunnels", float64(len(c.Tunnels)), float64(most), fmt.Sprintf("the keys of their SAs take %d MB, and half of the %d MB that are free are for them",
			uint64(len(c.Tunnels))*each>>20, available>>20)}
	}
	return memoryMB + int(uint64(len(c.Tunnels))*each>>20), nil
}

// First leaves so many tunnels, and of the peers those that have some of them.
func (c *Config) First(tunnels int) {
	c.Tunnels = slices.Clone(c.Tunnels[:tunnels])
	left := map[Negotiated]bool{}
	for i := range c.Tunnels {
		left[c.Tunnels[i].IKE] = true
	}
	var peers []ike.Peer
	for _, p := range c.Peers {
		p.Children = slices.DeleteFunc(slices.Clone(p.Children), func(child ike.Child) bool { return !left[Negotiated{p.Name, child.Name}] })
		if len(p.Children) > 0 {
			peers = append(peers, p)
		}
	}
	c.Peers = peers
}

func (o Options) withDefaults() Options {
	duration, rate := 10*time.Second, "10kpps"
	if o.Quick {
		duration, rate = time.Second, "1kpps"
	}
	o.Sizes, o.Rate, o.Duration = cmp.Or(o.Sizes, "512"), cmp.Or(o.Rate, rate), cmp.Or(o.Duration, duration)
	o.HugePages = cmp.Or(o.HugePages, eal.HugePagesAuto)
	if len(o.Directions) == 0 {
		o.Directions = []string{string(Outbound), string(Inbound)}
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// config is what the options ask for.
func (o *Options) config() (Config, error) {
	var errs []error
	var clear []Tunnel
	for _, text := range o.Clear {
		near, far, _ := strings.Cut(text, "=")
		t := Tunnel{Name: text}
		var nearErr, farErr error
		t.Near, nearErr = netip.ParsePrefix(near)
		t.Far, farErr = netip.ParsePrefix(far)
		if nearErr != nil || farErr != nil {
			errs = append(errs, fmt.Errorf("clear %q: expected two prefixes such as 10.1.0.0/24=10.2.0.0/24", text))
		}
		clear = append(clear, t)
	}
	errs = append(errs, o.contradictions())
	var proposal *crypto.Proposal
	if o.Proposal != "" {
		p, err := crypto.ParseESPProposal(o.Proposal)
		errs, proposal = append(errs, err), &p
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	c, err := mirror(o.Gateway, clear, proposal)
	if err != nil {
		return c, errors.Join(append(errs, err)...)
	}
	if o.Proposal != "" && len(c.Peers) == 0 {
		return c, errors.New("a proposal is what IKE offers: expected none, since the gateway's tunnels have keys given by hand")
	}
	if o.Tunnels != 0 {
		if o.Tunnels < 0 || o.Tunnels > len(c.Tunnels) {
			return c, fmt.Errorf("%d tunnels, expected 1 to %d, which the gateway's configuration has", o.Tunnels, len(c.Tunnels))
		}
		c.First(o.Tunnels)
	}
	c.AtOnce, c.Patience = o.AtOnce, o.Wait
	c.Duration, c.Resolve, c.Cores, c.Sleep = o.Duration, o.Wait, o.Cores, o.Sleep
	c.Protected.Device, c.Unprotected.Device = o.Protected, o.Unprotected
	for i, text := range []string{o.ProtectedMAC, o.UnprotectedMAC} {
		if text == "" {
			continue
		}
		mac, err := net.ParseMAC(text)
		errs = append(errs, err)
		c.ports()[i].MAC = mac
	}
	for i := range c.Tunnels {
		c.Tunnels[i].ToGateway.Sequence = o.Sequence
	}
	rate, err := ParseRate(o.Rate)
	errs = append(errs, err)
	sizes, err := ParseSizes(o.Sizes, c.Protected.MTU)
	errs = append(errs, err)
	for _, d := range o.Directions {
		c.Streams = append(c.Streams, Stream{Direction: Direction(d), Flows: o.Flows, Sizes: sizes, Order: Order{OrderKind(o.Order), o.Exponent}, Rate: rate, Burst: o.Burst})
	}
	return c, errors.Join(errs...)
}

// contradictions finds options that say nothing beside others, or twice the same.
func (o *Options) contradictions() error {
	var errs []error
	for what, given := range map[string]bool{"a number of tunnels": o.Tunnels != 0, "a proposal": o.Proposal != "", "tunnels at once": o.AtOnce != 0, "a sequence number": o.Sequence != 0} {
		if given && len(o.Clear) > 0 {
			errs = append(errs, fmt.Errorf("%s: expected none for packets in clear", what))
		}
	}
	for i, d := range o.Directions {
		if slices.Contains(o.Directions[:i], d) {
			errs = append(errs, fmt.Errorf("direction %s: expected each once", d))
		}
	}
	return errors.Join(errs...)
}

// ParseRate reads packets a second ("10000", "1.5Mpps"), bits a second ("100Mbps"), or "max".
func ParseRate(text string) (Rate, error) {
	if text == "max" {
		return Rate{}, nil
	}
	number, bits := strings.CutSuffix(text, "bps")
	if !bits {
		number = strings.TrimSuffix(text, "pps")
	}
	scale := 1.0
	for suffix, by := range map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if rest, found := strings.CutSuffix(number, suffix); found {
			number, scale = rest, by
			break
		}
	}
	rate, err := strconv.ParseFloat(number, 64)
	if rate *= scale; err != nil || !(rate > 0) || rate > 1e15 {
		return Rate{}, fmt.Errorf("rate %q: expected packets a second (10kpps, 1.5Mpps), bits a second (100Mbps), or max", text)
	}
	if bits {
		return Rate{Bits: rate}, nil
	}
	return Rate{Packets: rate}, nil
}

// cpus are those of the loops, for the report: the first one where the kernel chooses.
func (o *Options) cpus() []int {
	if len(o.Cores) == 0 {
		return []int{0}
	}
	return o.Cores
}

// Prepare does what comes before a trial: it reads the gateway's configuration, checks what is asked for and starts DPDK for the ports. Who makes trials of their own stops it.
func Prepare(o Options) (c Config, environment *eal.Environment, err error) {
	o = o.withDefaults()
	if c, err = o.config(); err != nil {
		return c, nil, err
	}
	c.defaults()
	if err := c.validate(); err != nil {
		return c, nil, fmt.Errorf("traffic: %w", err)
	}
	var allow []string
	for _, p := range c.ports() {
		if address, err := ethdev.ParseDevice(p.Device); err == nil && address != "" {
			allow = append(allow, address)
		}
	}
	available, err := availableMemory()
	if err != nil {
		return c, nil, err
	}
	memory, err := c.memory(available)
	if err != nil {
		return c, nil, fmt.Errorf("traffic: %w", err)
	}
	log := slog.New(slog.NewTextHandler(o.Progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
	environment, err = eal.Start(eal.Config{HugePages: o.HugePages, MemoryMB: memory, AllowPCI: allow}, log)
	return c, environment, err
}

// Validate finds what a tester of this configuration would refuse without a look at the machine.
func (c Config) Validate() error {
	c.defaults()
	return c.validate()
}

// Machine describes where it runs, for the report.
func (o *Options) Machine(environment *eal.Environment) (report.Machine, error) {
	machine, err := report.Describe(eal.Version(), o.cpus())
	machine.HugePages = environment.HugePages
	return machine, err
}

// Main does what the command does: it starts DPDK, runs a trial, prints and writes the report. A target that does not forward as it should is ErrVerdict.
func Main(ctx context.Context, o Options) (err error) {
	o = o.withDefaults()
	if err := report.Writable(o.JSON); err != nil {
		return err
	}
	started := time.Now()
	c, environment, err := Prepare(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	c.Progress = func(p Progress) {
		fmt.Fprintln(o.Progress, p)
	}
	o.printHeading(&c)
	r, err := Run(ctx, c)
	if err != nil {
		return err
	}
	o.print(r)
	machine, err := o.Machine(environment)
	if err != nil {
		return err
	}
	if err := o.report(r, machine, started).WriteJSON(o.JSON); err != nil {
		return err
	}
	switch {
	case r.Interrupted && (r.Verdict == "" || r.Verdict.Forwarded()):
		return ErrInterrupted
	case !r.Verdict.Forwarded():
		return fmt.Errorf("%w: %s", ErrVerdict, r.Verdict)
	}
	return nil
}
