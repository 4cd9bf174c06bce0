package offload

import (
	"fmt"
	"net/netip"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/offload/softnic"
	"sallyport/pipeline"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
)

// A rig is a planner with two ports in memory: lan, which is nothing but a ring, and wan, which may have a software NIC.
type rig struct {
	t       testing.TB
	nic     *softnic.NIC
	ports   []ethdev.Port
	crypto  *cryptodev.Pool
	planner *Planner
}

const (
	lan = 0
	wan = 1
)

var rigs int

// rigOptions say what a rig is; card is nil for a port without a NIC.
type rigOptions struct {
	card     *softnic.Options
	order    []Class
	devices  []string
	sessions int
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	rigs++
	r := &rig{t: t}
	pool, err := mempool.CreateMbufPool(fmt.Sprintf("offload%d", rigs), 511, ethdev.DataRoom(1500))
	must(t, err)
	t.Cleanup(pool.Free)
	var ports []Port
	for i, name := range []string{"lan", "wan"} {
		wire, err := ring.Create(fmt.Sprintf("offload%d%s", rigs, name), 64)
		must(t, err)
		t.Cleanup(wire.Free)
		port, err := ethdev.FromRings(fmt.Sprintf("offload%d%s", rigs, name), []*ring.Ring{wire}, []*ring.Ring{wire})
		must(t, err)
		t.Cleanup(func() { check(t, port.Close()) })
		_, err = ethdev.Setup(port, ethdev.PortConfig{Name: name, Pool: pool, Security: true})
		must(t, err)
		t.Cleanup(func() { check(t, port.Stop()) })
		r.ports = append(r.ports, port)
		ports = append(ports, Port{Name: name, WAN: i == wan, ID: uint16(port), Driver: "net_ring", Socket: cryptodev.SocketAny})
	}
	if o.card != nil {
		r.nic, err = softnic.Attach(uint16(r.ports[wan]), 1, *o.card)
		must(t, err)
		t.Cleanup(func() { check(t, r.nic.Detach()) })
	}
	if o.devices == nil {
		o.devices = cryptodev.DefaultDevices()
	}
	if o.sessions == 0 {
		o.sessions = 16
	}
	r.crypto, err = cryptodev.Open(cryptodev.Options{Devices: o.devices, QueuePairs: 1, Sessions: 16, Socket: cryptodev.SocketAny, Classes: CryptoClasses(o.order), Room: pipeline.CryptoRoom()})
	must(t, err)
	t.Cleanup(func() { check(t, r.crypto.Close()) })
	r.planner, err = New(Config{Order: o.order, Ports: ports, Crypto: r.crypto, Sessions: o.sessions})
	must(t, err)
	t.Cleanup(func() { check(t, r.planner.Stop()) })
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func suite(t testing.TB, text string) crypto.Suite {
	t.Helper()
	s, err := crypto.ParseSuite(text)
	must(t, err)
	return s
}

// inlineSA is one direction of an SA with keys that are easy to find in memory.
func inlineSA(t testing.TB, text string, outbound bool) *pipeline.InlineSA {
	s := suite(t, text)
	keymat := make([]byte, s.KeymatLen())
	for i := range keymat {
		keymat[i] = byte(0xa1 + 7*i)
	}
	return &pipeline.InlineSA{
		Outbound: outbound, SPI: 0x1001, Suite: s, Keymat: crypto.NewSecret(keymat), ReplayWindow: 1024, Sequence: 1, Userdata: 0x1001,
		Local: netip.MustParseAddrPort("192.0.2.1:4500"), Remote: netip.MustParseAddrPort("192.0.2.2:4500"),
	}
}

// open makes a session on the wan port for as long as the test runs.
func (r *rig) open(sa *pipeline.InlineSA) pipeline.InlineSession {
	r.t.Helper()
	session, err := r.planner.Open(uint16(r.ports[wan]), sa)
	must(r.t, err)
	r.t.Cleanup(func() { check(r.t, r.planner.Close(session)) })
	return session
}

// counted is an SA as the data plane would describe it: with a session of the wan port, or refused one.
func (r *rig) counted(sa *pipeline.InlineSA, session *pipeline.InlineSession, refusal string) *pipeline.SACounters {
	made, err := r.crypto.NewSession(sa.Suite, sa.Keymat, sa.Outbound, cryptodev.WithESN(sa.ESN), ofESP(sa))
	must(r.t, err)
	r.t.Cleanup(func() { check(r.t, r.crypto.Free(made)) })
	c := &pipeline.SACounters{
		SPI: sa.SPI, Outbound: sa.Outbound, Transport: sa.Transport, Suite: sa.Suite, ESN: sa.ESN, Local: sa.Local, Remote: sa.Remote, UDPEncap: sa.UDPEncap,
		ReplayWindow: sa.ReplayWindow, Encapsulation: sa.Encapsulation, Device: made.DeviceName(), Class: made.Class, Whole: made.Whole, PassedOver: made.PassedOver,
	}
	if c.Inline.Refused = refusal; session != nil {
		c.Inline = pipeline.SAInline{Session: true, Protocol: session.Protocol, Port: session.Port}
	}
	return c
}
