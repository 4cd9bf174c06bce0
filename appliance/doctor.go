package appliance

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pipeline"
)

// doctor finds out which of the openings that IPsec needs are there on the path to
// a peer (S-093): it asks through each of them what only the other end can answer.
//
// IKE is asked in a major version that there is not: RFC 7296 section 2.5 has every
// peer answer with the one it speaks, and no SA comes of it. ESP and AH have no such
// question of their own; theirs are the echo packets of package pipeline.
type doctor struct {
	plane plane
	now   func() time.Time

	mu      sync.Mutex
	waiting map[token]chan time.Time // questions under way
	answers bucket                   // to other gateways' echo requests
}

// token is what an answer repeats of its question.
type token [8]byte

const (
	doctorTries   = 3
	doctorBetween = 400 * time.Millisecond // tries
	doctorPeers   = 32                     // asked at once, when none is named

	echoesPerSecond = 50
	echoBurst       = 20

	// unknownMajor is a version of IKE that there is not, in the place of the header's version octet.
	unknownMajor  = 3 << 4
	ikeHeaderLen  = 28
	ikeVersionAt  = 17
	ikeExchangeAt = 18
	ikeFlagsAt    = 19
	ikeLengthAt   = 24
	ikeSAInit     = 34
	ikeInitiator  = 0x08
	portIKE       = 500
	portNATT      = 4500
)

// openings are what a path between gateways has to let through (S-093), both ways.
var openings = []api.Opening{
	{Name: "UDP 500", Carries: "IKE"},
	{Name: "UDP 4500", Carries: "IKE and ESP across a NAT"},
	{Name: "IP protocol 50", Carries: "ESP"},
	{Name: "IP protocol 51", Carries: "AH"},
}

func newDoctor(p plane) *doctor {
	return &doctor{plane: p, now: time.Now, waiting: map[token]chan time.Time{}, answers: newBucket(echoesPerSecond, echoBurst)}
}

// examine asks a peer through all openings and waits for the answers.
func (d *doctor) examine(ctx context.Context, peer ike.Peer) api.PeerExamination {
	result := api.PeerExamination{Peer: peer.Name, Local: peer.Local.String(), Remote: peer.Remote.String(), Openings: slices.Clone(openings)}
	var group sync.WaitGroup
	for i := range result.Openings {
		group.Go(func() { d.ask(ctx, peer.Local, peer.Remote, i, &result.Openings[i]) })
	}
	group.Wait()
	return result
}

// ask tries one opening a few times.
func (d *doctor) ask(ctx context.Context, local, remote netip.Addr, opening int, result *api.Opening) {
	var id token
	rand.Read(id[:])
	id[0] |= 1 // an IKE SPI is not zero
	answered := make(chan time.Time, 1)
	d.mu.Lock()
	d.waiting[id] = answered
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.waiting, id)
		d.mu.Unlock()
	}()
	for try := range doctorTries {
		asked := d.now()
		if err := d.send(local, remote, opening, id, uint32(try+1)); err != nil {
			result.Error = err.Error()
		}
		select {
		case at := <-answered:
			result.Open, result.RoundTrip, result.Error = true, at.Sub(asked).Seconds(), ""
			return
		case <-time.After(doctorBetween):
		case <-ctx.Done():
			return
		}
	}
}

func (d *doctor) send(local, remote netip.Addr, opening int, id token, sequence uint32) error {
	switch opening {
	case 0, 1:
		port := uint16(portIKE)
		if opening == 1 {
			port = portNATT
		}
		return d.plane.SendUDP(netip.AddrPortFrom(local, port), netip.AddrPortFrom(remote, port), versionQuestion(id), port == portNATT)
	case 2:
		return d.plane.SendEcho(pipeline.Echo{Local: local, Remote: remote, Protocol: crypto.ProtocolESP, Sequence: sequence, Data: id[:]})
	default:
		data := append(id[:], 0, 0, 0, 0) // as long as an ICV of 96 bits
		return d.plane.SendEcho(pipeline.Echo{Local: local, Remote: remote, Protocol: crypto.ProtocolAH, Sequence: sequence, Data: data})
	}
}

// versionQuestion is the header of an IKE message of a version that there is not.
func versionQuestion(id token) []byte {
	m := make([]byte, ikeHeaderLen)
	copy(m, id[:])
	m[ikeVersionAt], m[ikeExchangeAt], m[ikeFlagsAt] = unknownMajor, ikeSAInit, ikeInitiator
	binary.BigEndian.PutUint32(m[ikeLengthAt:], ikeHeaderLen)
	return m
}

// answered takes the answer to a question of ours, and says whether it is one.
func (d *doctor) answered(data []byte) bool {
	var id token
	if copy(id[:], data) < len(id) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	answer, asked := d.waiting[id]
	if !asked {
		return false
	}
	select {
	case answer <- d.now():
	default: // a second one
	}
	return true
}

// echo takes an echo of ESP or AH. One that asks is answered at a limited rate, and
// only if its sender is the end of a tunnel of ours.
func (d *doctor) echo(e pipeline.Echo, known bool) error {
	if e.Reply {
		d.answered(e.Data)
		return nil
	}
	d.mu.Lock()
	answer := known && d.answers.take(d.now())
	d.mu.Unlock()
	if !answer {
		return nil
	}
	e.Reply = true
	return d.plane.SendEcho(e)
}

// examination is what `sallyport doctor` shows: of one peer, or of all.
func (g *Gateway) examination(ctx context.Context, name string) (api.Examination, error) {
	peers := slices.Clone(g.running().peers)
	if name != "" {
		if err := g.negotiator.known(name, ""); err != nil {
			return api.Examination{}, badRequest{err}
		}
		peers = slices.DeleteFunc(peers, func(p ike.Peer) bool { return p.Name != name })
	}
	if len(peers) > doctorPeers {
		return api.Examination{}, badRequest{fmt.Errorf("expected the name of a peer, because there are %d and at most %d are asked at once", len(peers), doctorPeers)}
	}
	result := api.Examination{Openings: openings, Peers: make([]api.PeerExamination, len(peers))}
	var group sync.WaitGroup
	for i, peer := range peers {
		group.Go(func() { result.Peers[i] = g.negotiator.doctor.examine(ctx, peer) })
	}
	group.Wait()
	if ctx.Err() != nil {
		return api.Examination{}, errors.New("the client has gone")
	}
	g.believeTraffic(result.Peers)
	slices.SortFunc(result.Peers, func(a, b api.PeerExamination) int { return cmp.Compare(a.Peer, b.Peer) })
	return result, nil
}

// recent is how long ago a packet may have come that shows an opening to be there.
const recent = time.Minute

// believeTraffic takes an SA that brings packets for an answer: a peer of another
// make may not know the echo packets of ESP and AH.
func (g *Gateway) believeTraffic(examined []api.PeerExamination) {
	for _, sa := range g.plane.SACounters() {
		if sa.Outbound || sa.Packets == 0 || sa.Idle > recent {
			continue
		}
		opening := 2
		if sa.UDPEncap {
			opening = 1
		}
		for i := range examined {
			if o := &examined[i].Openings[opening]; !o.Open && examined[i].Remote == sa.Remote.Addr().String() {
				o.Open, o.Traffic, o.Error = true, true, ""
			}
		}
	}
}

// bucket limits how often something is done for strangers.
type bucket struct {
	perSecond, burst, tokens float64
	last                     time.Time
}

func newBucket(perSecond, burst float64) bucket {
	return bucket{perSecond: perSecond, burst: burst, tokens: burst}
}

// take spends one token, and reports false when there is none.
func (b *bucket) take(now time.Time) bool {
	if !b.last.IsZero() {
		b.tokens = min(b.burst, b.tokens+max(0, now.Sub(b.last).Seconds())*b.perSecond)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
