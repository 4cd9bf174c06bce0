package offload

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
)

// Port is a port of the gateway.
type Port struct {
	Name   string // as in pipeline.PortSpec
	WAN    bool   // SAs lead there
	ID     uint16 // DPDK's; ports of one Ethernet port share it, and differ in VLAN
	VLAN   uint16 // of its frames, 0: without a tag
	Driver string
	Socket int // NUMA node
}

// Config is what a planner chooses from.
type Config struct {
	Order    []Class // nil: the default
	Ports    []Port
	Crypto   *cryptodev.Pool // opened with CryptoClasses of the same order
	Sessions int             // of each Ethernet port, at most
}

// Planner makes sessions of ports for SAs and says by which plan each SA goes. It implements pipeline.Inline. Its methods may be called from any goroutine. A driver is asked one thing at
// a time, and who asks others, or for no session, does not wait for it.
type Planner struct {
	steps  []step
	ports  []*port
	crypto *cryptodev.Pool

	mu      sync.Mutex
	opened  map[unsafe.Pointer]*opened
	of      map[saKey]*opened
	stuck   []*opened         // which their drivers did not take back
	refused map[saKey]refusal // of SAs that have no session; at most maxRefused
}

// maxRefused bounds what is remembered of SAs whose end nobody tells. Beyond it all is forgotten: the SA still has all reasons in one.
const maxRefused = 1 << 16

// port is one of the gateway on a NIC.
type port struct {
	name string
	wan  bool
	vlan uint16
	*nic
}

// refusal is why an SA has no session of a port that was asked.
type refusal struct {
	port *port
	why  map[Plan]string
}

// New asks all ports for what they can do.
func New(cfg Config) (*Planner, error) {
	if cfg.Crypto == nil || cfg.Sessions < 1 {
		return nil, fmt.Errorf("offload: %d sessions and crypto devices %v, expected at least 1 and some", cfg.Sessions, cfg.Crypto != nil)
	}
	p := &Planner{steps: steps(cfg.Order), crypto: cfg.Crypto, opened: map[unsafe.Pointer]*opened{}, of: map[saKey]*opened{}, refused: map[saKey]refusal{}}
	nics := map[uint16]*nic{}
	for _, spec := range cfg.Ports {
		if nics[spec.ID] == nil {
			nics[spec.ID] = p.openNIC(&spec, cfg.Sessions)
		}
		p.ports = append(p.ports, &port{name: spec.Name, wan: spec.WAN, vlan: spec.VLAN, nic: nics[spec.ID]})
	}
	return p, nil
}

// openNIC leaves a port alone that the order has no use for.
func (p *Planner) openNIC(spec *Port, sessions int) *nic {
	if !slices.Contains(p.steps, step{inline: true}) {
		return &nic{id: spec.ID, missing: "inline is not in the order"}
	}
	return openNIC(spec.ID, spec.Driver, sessions, spec.Socket)
}

// Stop gives back what ports took. It refuses while sessions live.
func (p *Planner) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.opened) > 0 {
		return fmt.Errorf("offload: %d sessions of ports not closed", len(p.opened))
	}
	for _, o := range p.stuck {
		if o.nic.lost || o.close() != nil {
			o.forget()
		} else {
			o.nic.stuck--
		}
	}
	for _, port := range p.ports {
		port.close()
	}
	p.ports = nil
	return nil
}

// retry asks a NIC, whose driver is ours, again for some of the sessions that it did not take back.
func (p *Planner) retry(n *nic, most int) {
	for _, o := range p.stuckOf(n, most) {
		if p.isLost(n) || o.close() != nil {
			p.keep(n, o)
		}
	}
}

// retries at each session that comes or goes.
const retries = 4

func (p *Planner) isLost(n *nic) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return n.lost
}

// Offers implements pipeline.Inline.
func (p *Planner) Offers(id uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	port := p.numbered(id)
	return port != nil && port.missing == ""
}

// Open implements pipeline.Inline.
func (p *Planner) Open(id uint16, sa *pipeline.InlineSA) (pipeline.InlineSession, error) {
	port, err := p.toAsk(id, sa.VLAN)
	if err != nil {
		return pipeline.InlineSession{}, err
	}
	nic, need := port.nic, needOf(sa)
	if reason := p.preferred(&need); reason != "" && !sa.Wanted {
		return pipeline.InlineSession{}, errors.New(reason)
	}
	if err := sa.Suite.CheckKeymat(sa.Keymat); err != nil {
		return pipeline.InlineSession{}, err
	}
	nic.driver.Lock()
	defer nic.driver.Unlock()
	if _, err := p.toAsk(id, sa.VLAN); err != nil { // it may have been lost while another asked
		return pipeline.InlineSession{}, err
	}
	p.retry(nic, retries)
	before, key := map[Plan]string{}, keyOf(sa.Outbound, sa.SPI, sa.Remote)
	for _, plan := range inlinePlans(sa.Outbound) {
		session, reason := p.try(nic, plan, &need, sa)
		if reason == "" {
			session.of, session.before = key, before
			p.note(session)
			return pipeline.InlineSession{Handle: session.session, Context: nic.security.Context(), Protocol: plan == InlineProtocol, Metadata: session.metadata, Port: id}, nil
		}
		before[plan] = reason
	}
	p.noteRefusal(key, refusal{port, before})
	return pipeline.InlineSession{}, errors.New(joined(before))
}

// toAsk is a port that may be asked for a session.
func (p *Planner) toAsk(id, vlan uint16) (*port, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	port := p.at(id, vlan)
	switch {
	case port == nil:
		return nil, fmt.Errorf("port %d with VLAN %d is unknown", id, vlan)
	case port.lost:
		return nil, fmt.Errorf("port %d: %w", id, errLost)
	}
	return port, nil
}

func (p *Planner) note(o *opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened[o.session], p.of[o.of] = o, o
	delete(p.refused, o.of)
}

func (p *Planner) noteRefusal(key saKey, r refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.refused) >= maxRefused {
		clear(p.refused)
	}
	p.refused[key] = r
}

// joined is all reasons against a port, each once, for who has room for one.
func joined(refusals map[Plan]string) string {
	var list []string
	for _, plan := range Plans() {
		if reason := refusals[plan]; reason != "" && !slices.Contains(list, reason) {
			list = append(list, reason)
		}
	}
	return strings.Join(list, "; ")
}

// try makes the session of one plan, or says why not. The driver is ours.
func (p *Planner) try(n *nic, plan Plan, need *need, sa *pipeline.InlineSA) (*opened, string) {
	never := sa.NoCrypto
	if plan == InlineProtocol {
		never = sa.NoProtocol
	}
	c, refusal := n.entry(plan, need)
	if reason := cmp.Or(refusal, never); reason != "" {
		return nil, reason
	}
	o, err := n.open(c, need, sa)
	if err != nil {
		return nil, err.Error()
	}
	if o.failed != nil {
		return nil, errors.Join(o.failed, p.takeBack(o)).Error()
	}
	o.metadata = c.Metadata
	return o, ""
}

// saKey names one direction of an SA.
type saKey struct {
	outbound bool
	spi      uint32
	remote   netip.Addr
}

func keyOf(outbound bool, spi uint32, remote netip.AddrPort) saKey {
	return saKey{outbound, spi, remote.Addr()}
}

// preferred says what comes before any port in the order and can do it, nothing if there is no such thing.
func (p *Planner) preferred(n *need) string {
	for _, s := range p.steps {
		if s.inline {
			return ""
		}
		for _, w := range p.crypto.Ways(&n.ESP) {
			if w.Class == s.crypto && w.Refusal == "" {
				return w.Device + " comes first in the order"
			}
		}
	}
	return "inline is not in the order"
}

// Close implements pipeline.Inline.
func (p *Planner) Close(session pipeline.InlineSession) error {
	o := p.forget(session)
	if o == nil {
		return fmt.Errorf("offload: port %d has no such session", session.Port)
	}
	if p.isLost(o.nic) { // who asks it now may wait long
		p.keep(o.nic, o)
		return errLost
	}
	o.nic.driver.Lock()
	defer o.nic.driver.Unlock()
	p.retry(o.nic, retries)
	return p.takeBack(o)
}

// forget takes a session out of the tables, nil for one that is not there.
func (p *Planner) forget(session pipeline.InlineSession) *opened {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.opened[session.Handle]
	if o == nil {
		return nil
	}
	delete(p.opened, session.Handle)
	if p.of[o.of] == o {
		delete(p.of, o.of)
	}
	return o
}

// takeBack closes a session of a NIC whose driver is ours, or keeps it for another attempt.
func (p *Planner) takeBack(o *opened) error {
	err := errLost
	if !p.isLost(o.nic) {
		err = o.close()
	}
	if err != nil {
		p.keep(o.nic, o)
	}
	return err
}

// Removed implements pipeline.Inline.
func (p *Planner) Removed(id uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	port := p.numbered(id)
	return port != nil && port.removed()
}

// errLost is why a NIC is not asked: a driver whose card is dead may wait for an answer for a second each time.
var errLost = errors.New("the NIC has stopped doing ESP")

// Lose implements pipeline.Inline.
func (p *Planner) Lose(id uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if port := p.numbered(id); port != nil {
		port.lost = true
	}
}

// Probe implements pipeline.Inline: it makes a session of the first kind that the port says it has, and takes it away. Then the NIC is asked for what it did not take back. The planner
// is there for others meanwhile, who leave this NIC alone.
func (p *Planner) Probe(id uint16) error {
	n, err := p.toProbe(id)
	if err != nil {
		return err
	}
	n.driver.Lock()
	defer n.driver.Unlock()
	o, err := n.probe()
	if err != nil {
		return err
	}
	if err := o.close(); err != nil {
		p.keep(n, o)
		return err
	}
	stuck := p.stuckOf(n, math.MaxInt)
	for len(stuck) > 0 && stuck[0].close() == nil {
		stuck = stuck[1:]
	}
	p.keep(n, stuck...)
	p.mu.Lock()
	defer p.mu.Unlock()
	n.lost = false
	return nil
}

// toProbe is the NIC of a port, which nobody but Probe asks any more until that has an answer.
func (p *Planner) toProbe(id uint16) (*nic, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	port := p.numbered(id)
	switch {
	case port == nil || port.missing != "":
		return nil, fmt.Errorf("port %d has no sessions", id)
	case port.removed():
		return nil, fmt.Errorf("port %d was taken out of the machine", id)
	}
	port.lost = true
	return port.nic, nil
}

// stuckOf takes some of what a NIC did not take back, those first that have waited longest.
func (p *Planner) stuckOf(n *nic, most int) (list []*opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.stuck == 0 {
		return nil
	}
	p.stuck = slices.DeleteFunc(p.stuck, func(o *opened) bool {
		is := o.nic == n && len(list) < most
		if is {
			list = append(list, o)
		}
		return is
	})
	n.stuck -= len(list)
	return list
}

// keep has sessions for another attempt.
func (p *Planner) keep(n *nic, list ...*opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.stuck += len(list)
	p.stuck = append(p.stuck, list...)
}

// numbered is any port of those that have DPDK's number, nil for none.
func (p *Planner) numbered(id uint16) *port {
	return p.find(func(port *port) bool { return port.id == id })
}

// at is the port of a VLAN of an Ethernet port, nil for none.
func (p *Planner) at(id, vlan uint16) *port {
	return p.find(func(port *port) bool { return port.id == id && port.vlan == vlan })
}

func (p *Planner) find(is func(*port) bool) *port {
	if i := slices.IndexFunc(p.ports, is); i >= 0 {
		return p.ports[i]
	}
	return nil
}

// PortInfo is what a port offers.
type PortInfo struct {
	Name  string
	ID    uint16 // DPDK's
	Plans []Plan // inline
	Why   string // there are none
}

// Ports lists what each port offers.
func (p *Planner) Ports() []PortInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]PortInfo, 0, len(p.ports))
	for _, port := range p.ports {
		info := PortInfo{Name: port.name, ID: port.id, Why: port.missing}
		for _, plan := range Plans() {
			if action := actions[plan]; port.missing == "" && action != 0 && port.security.Offers(action) {
				info.Plans = append(info.Plans, plan)
			}
		}
		list = append(list, info)
	}
	return list
}
