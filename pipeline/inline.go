package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"time"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// Inline makes sessions of a port for SAs: a NIC that does the work of ESP while it sends and receives. Package offload has the one for rte_security.
// The control plane calls it from any goroutine: a driver that takes its time is waited for by those alone who need it.
type Inline interface {
	// Offers reports whether a port can have sessions. Where none can, workers look at no packet for what a port says of it.
	Offers(port uint16) bool
	// Open makes the session of one direction of an SA on a port, or says why there is none: the error's text is the refusal that operators see.
	// It reads the key and does not keep it.
	Open(port uint16, sa *InlineSA) (InlineSession, error)
	// Close takes a session away, whose keys the port forgets. It is called when no worker can be using it any more, and the port has sent what was left to it.
	Close(session InlineSession) error
	// Removed reports whether a port was taken out of the machine.
	Removed(port uint16) bool
	// Lose says that a port does nothing any more. It is asked for nothing until Probe finds that it is back: what Close is called for waits for that.
	Lose(port uint16)
	// Probe makes a session on a port that did nothing any more, and takes it away: nil if it could. A dead one may take its time over that:
	// Probe is called beside all else.
	Probe(port uint16) error
}

// InlineSession is one direction of an SA on one port.
type InlineSession struct {
	Handle   unsafe.Pointer // rte_security session
	Context  unsafe.Pointer // rte_security_ctx of the port
	Protocol bool           // inline protocol: the port does headers, numbers and window too; else inline crypto
	Metadata bool           // RTE_SECURITY_TX_OLOAD_NEED_MDATA: rte_security_set_pkt_metadata for each packet sent
	Port     uint16         // DPDK port id
}

// InlineSA is what a port has to know of one direction of an SA.
type InlineSA struct {
	Outbound, Transport, UDPEncap, ESN bool

	SPI           uint32
	Suite         crypto.Suite
	Keymat        crypto.Secret  // as in ChildSA; the caller's
	Local, Remote netip.AddrPort // outer addresses; the ports count only with UDPEncap
	Encapsulation Encapsulation
	ReplayWindow  int    // packets, inbound only
	Sequence      uint64 // outbound: the first number of a port that numbers by itself
	Next          uint64 // outbound: the number of the next packet that the gateway numbers
	Userdata      uint64 // comes back with each packet of inline protocol
	VLAN          uint16 // of the port's frames, 0: without a tag

	// NoCrypto and NoProtocol say why a kind of session is out of the question, "" if it is not.
	NoCrypto, NoProtocol string
	Wanted               bool // by an operator: whatever would come before the port in the order
}

// SAInline is what an SA has of its port's NIC.
type SAInline struct {
	Session  bool   // it has a session, beside the CPU's
	Protocol bool   // of inline protocol, else inline crypto
	Port     uint16 // DPDK port id
	VLAN     uint16 // of the port's frames, 0: without a tag
	Refused  string // why there is none, "" where none was asked for
	Packets  uint64 // that the NIC has sealed or opened; the SA's others were the CPU's
	Stopped  bool   // outbound: the CPU has taken over, until the next rekey
}

// inlineSession is what an association holds of a port.
type inlineSession struct {
	InlineSession
	vlan    uint16
	refused string
	past    uint64 // packets of sessions that the SA had before
	marks   bool   // inbound: workers believe that its packets are opened; the session may be gone, or still to come
}

// numbers are those with which the session of an outbound SA begins.
type numbers struct {
	next  uint64 // where the gateway numbers packets: the one that it has not used yet
	apart uint64 // where somebody else does: behind all that workers may use meanwhile
}

// openInline asks for a session of the port that leads to the peer. The SA works without one.
func (d *Dataplane) openInline(sa *association, outbound bool, place Place, begin numbers) {
	if d.cfg.Inline == nil {
		return
	}
	unused := sa.session
	err := d.leaveQueue(sa, outbound, place)
	if err == nil {
		err = d.tryInline(sa, outbound, place, begin)
	}
	if err != nil {
		sa.inline = inlineSession{refused: err.Error()}
		sa.session, unused = unused, sa.session
	}
	if unused != sa.session {
		d.giveSessionsBack(&association{session: unused}, nil)
	}
}

// leaveQueue gives an SA that the order would send to a crypto device's queue a session of the CPU, which alone can be beside one of a port: what the port leaves to a
// queue would come behind what it does itself.
func (d *Dataplane) leaveQueue(sa *association, outbound bool, place Place) error {
	if !queued(sa.session) || place != PlaceAuto {
		return nil
	}
	port, err := d.portToPeer(sa)
	if err != nil || !d.cfg.Inline.Offers(uint16(port.Port)) {
		return err
	}
	const why = "what a port leaves undone is the CPU's"
	cpu, err := d.newSession(&sa.child, sa.child.Suite, sa.child.Keymat, sa.child.ESN, outbound,
		cryptodev.Only(why, func(class cryptodev.Class, _ bool) bool { return class == cryptodev.ClassCPU }))
	if err != nil {
		return fmt.Errorf("%s, and there is no such %w", why, err)
	}
	sa.session = cpu
	return nil
}

func (d *Dataplane) tryInline(sa *association, outbound bool, place Place, begin numbers) error {
	spec, err := d.inlinePort(sa, place)
	if err != nil {
		return err
	}
	port := uint16(spec.Port)
	if !outbound {
		C.sp_inline_expect(d.c, C.uint16_t(port))
	}
	wanted := sa.child.inlineSA(outbound, spec.VLAN)
	if !outbound && wanted.NoProtocol == "" {
		wanted.NoProtocol = d.sad.whyShunned(sa.child.Cell)
	}
	place.limit(&wanted)
	if outbound {
		wanted.beginAt(begin.apart)
		wanted.Next = max(begin.next, 1)
	}
	session, err := d.openSession(port, &wanted)
	if err != nil {
		return err
	}
	sa.inline.InlineSession, sa.inline.vlan = session, spec.VLAN
	sa.inline.marks = !outbound
	return nil
}

// openSession asks a port for a session that can be used.
func (d *Dataplane) openSession(port uint16, wanted *InlineSA) (session InlineSession, err error) {
	d.unlocked(func() { session, err = d.cfg.Inline.Open(port, wanted) })
	if err != nil {
		return session, err
	}
	why := wanted.refusal(&session, port)
	if d.lostPorts[port] != nil {
		why = nicStopped // meanwhile
	}
	if why == "" {
		return session, nil
	}
	d.giveSessionBack(session)
	return InlineSession{}, errors.New(why)
}

// nicStopped is why no SA goes to a port.
const nicStopped = "the NIC has stopped doing ESP"

// shunInline is how long the inbound SAs of a tunnel have no inline protocol after packets came past a NIC that had the window. A path that cuts packets, or who repeats one of the
// tunnel's in fragments, has it negotiated anew no more often than that.
const shunInline = time.Hour

// whyShunned is the reason against inline protocol for a tunnel's inbound SAs, "" for none.
func (s *sad) whyShunned(cell CellID) string {
	end := s.shunned[cell]
	if end.IsZero() {
		return ""
	}
	return "packets of the tunnel came past the NIC within the hour, in fragments perhaps: with inline protocol they are lost, so that it has none until " + end.UTC().Format(time.RFC3339)
}

// endShunning gives tunnels another chance.
func (s *sad) endShunning(now time.Time) {
	maps.DeleteFunc(s.shunned, func(_ CellID, end time.Time) bool { return !now.Before(end) })
}

// inlinePort is the port whose NIC could do the work of an SA.
func (d *Dataplane) inlinePort(sa *association, place Place) (*PortSpec, error) {
	if !place.mayInline() {
		return nil, errors.New(place.why())
	}
	if queued(sa.session) {
		return nil, fmt.Errorf("what the NIC leaves to %s would come behind what it does itself", sa.session.DeviceName())
	}
	return d.portToPeer(sa)
}

// portToPeer is the port that leads to an SA's peer, if its NIC may have the SA.
func (d *Dataplane) portToPeer(sa *association) (*PortSpec, error) {
	if !sa.child.movable() {
		return nil, errors.New("a NIC does ESP, not AH")
	}
	toward := d.portToward(sa.child.Remote.Addr())
	if toward == noPort {
		return nil, errors.New("no route to the peer says which port")
	}
	spec := &d.cfg.Ports[toward]
	if d.lostPorts[uint16(spec.Port)] != nil {
		return nil, errors.New(nicStopped)
	}
	return spec, nil
}

// tooFewNumbers is why nobody begins with numbers of his own behind those in use.
const tooFewNumbers = "too few sequence numbers are left to begin anew behind those in use"

// beginAt is the first number of whoever counts by himself.
func (sa *InlineSA) beginAt(first uint64) {
	sa.Sequence = max(first, 1)
	if !sa.ESN && first > math.MaxUint32 {
		sa.NoProtocol = tooFewNumbers
	}
}

// refusal is why a session cannot be used, "" if it can.
func (sa *InlineSA) refusal(session *InlineSession, port uint16) string {
	switch {
	case session.Handle == nil || session.Context == nil || session.Port != port:
		return fmt.Sprintf("session of port %d without handles, or not of port %d", session.Port, port)
	case session.Protocol && sa.NoProtocol != "":
		return sa.NoProtocol
	case !session.Protocol && sa.NoCrypto != "":
		return sa.NoCrypto
	case session.Protocol && !sa.Outbound && C.sp_inline_userdata() == 0:
		return "inline protocol of a driver that does not say which SA a packet came by"
	}
	return ""
}

// inlineSA is what a port has to know of the SA, whose frames have a VLAN there.
func (c *ChildSA) inlineSA(outbound bool, vlan uint16) InlineSA {
	sa := InlineSA{
		Outbound: outbound, Transport: c.Transport, UDPEncap: c.UDPEncap, ESN: c.ESN,
		SPI: c.SPI, Suite: c.Suite, Keymat: c.Keymat, Local: c.Local, Remote: c.Remote, Encapsulation: c.Encapsulation,
		Userdata: uint64(c.SPI), VLAN: vlan,
	}
	if outbound {
		sa.Sequence = max(c.FirstSequence, 1)
		sa.Next = sa.Sequence
	} else {
		sa.ReplayWindow = c.ReplayWindow
	}
	if outbound && c.UDPEncap && c.Local.Addr().Is6() {
		sa.NoCrypto = "UDP over IPv6 has a checksum, of what only the NIC would know"
	}
	sa.NoProtocol = c.noInlineProtocol(outbound)
	return sa
}

// noInlineProtocol says what the SA has that only the CPU does. A NIC numbers packets by itself, so that the CPU can send none between its own.
func (c *ChildSA) noInlineProtocol(outbound bool) string {
	if !outbound && c.UDPEncap && !c.BehindNAT {
		return "hides where a peer behind a NAT sends from"
	}
	return notWhole(outbound, c.Transport, &c.Encapsulation)
}

// notWhole says what of an SA keeps whoever is not the CPU from making its packets as a whole.
func notWhole(outbound, transport bool, e *Encapsulation) string {
	switch {
	case transport:
		return "for tunnels only"
	case outbound && (e.TFCPad > 0 || e.DummyEvery > 0):
		return "no padding and no dummy packets against traffic analysis"
	case outbound && e.FragmentAfter:
		return "no fragments of what is encapsulated: two would number packets"
	}
	return ""
}

// ESP is the SA as drivers have to know it.
func (sa *InlineSA) ESP() cryptodev.ESP {
	e := &sa.Encapsulation
	esp := cryptodev.ESP{
		Outbound: sa.Outbound, Transport: sa.Transport, UDPEncap: sa.UDPEncap, ESN: sa.ESN, SPI: sa.SPI, Suite: sa.Suite, Local: sa.Local, Remote: sa.Remote,
		Window: sa.ReplayWindow, Sequence: sa.Sequence, Next: sa.Next, Userdata: sa.Userdata, NotWhole: cmp.Or(sa.NoProtocol, notWhole(sa.Outbound, sa.Transport, e)),
		Outer: cryptodev.Outer{ECN: !e.ECNOff, CopyDSCP: e.DSCP == nil, CopyDF: e.DF == DFCopy, DF: e.DF == DFSet, TTL: cmp.Or(e.TTL, defaultTTL)},
	}
	if e.DSCP != nil {
		esp.Outer.DSCP = *e.DSCP
	}
	return esp
}

// fillInline puts a session into an SA's C form.
func (d *Dataplane) fillInline(config *C.struct_sp_sa_config, s *inlineSession) {
	config.inline_session, config.inline_context = s.Handle, s.Context
	config.inline_device, config.inline_port = C.uint16_t(s.Port), d.portID(s.Port, s.vlan)
	config.inline_protocol, config.inline_metadata = flag(s.Protocol), flag(s.Metadata)
}

// closeInline takes the session back that no worker can be using, while others have the lock.
func (d *Dataplane) closeInline(sa *association) {
	if sa.inline.Handle == nil {
		return
	}
	session := sa.inline.InlineSession
	sa.inline.InlineSession = InlineSession{}
	var err error
	d.unlocked(func() { err = d.cfg.Inline.Close(session) })
	d.closed(session.Port, err)
}

// closed notes what came of taking a session back.
func (d *Dataplane) closed(port uint16, err error) {
	if d.lostPorts[port] == nil { // else Inline tries it again when the port is back
		d.graves.failed = errors.Join(d.graves.failed, err)
	}
}

// giveSessionsBack has drivers take back what an SA had, which no worker can be using, and does something afterwards.
func (d *Dataplane) giveSessionsBack(sa *association, then func()) {
	inline, sessions := sa.inline.InlineSession, []*cryptodev.Session{sa.session, sa.ah}
	sa.inline.InlineSession = InlineSession{}
	var notClosed error
	d.giveBack(func() (failed error) {
		if inline.Handle != nil {
			notClosed = d.cfg.Inline.Close(inline)
		}
		for _, session := range sessions {
			if session != nil {
				failed = errors.Join(failed, d.cfg.Crypto.Free(session))
			}
		}
		return failed
	}, func() {
		d.closed(inline.Port, notClosed)
		if then != nil {
			then()
		}
	})
}

// giveSessionBack is giveSessionsBack for one of a port alone.
func (d *Dataplane) giveSessionBack(session InlineSession) {
	d.giveSessionsBack(&association{inline: inlineSession{InlineSession: session}}, nil)
}

func (s *inlineSession) describe(c *C.struct_sp_sa_counters) SAInline {
	return SAInline{Session: s.Handle != nil, Protocol: s.Protocol, Port: s.Port, VLAN: s.vlan, Refused: s.refused, Packets: s.past + uint64(c.inlined), Stopped: c.stopped != 0}
}
