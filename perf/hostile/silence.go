package hostile

import (
	"cmp"
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"sallyport/perf/lab"
)

// targets are hosts behind silent peers, in an order that meets each of them once before any again. A host of the LAN sends to them.
func targets(_ context.Context, b *bed) (attack, error) {
	const (
		targetAt = ipAt + 16
		hosts    = 1 << 16 // behind each peer
		step     = 40_503  // odd: it goes through all of them
	)
	first := silentPeers[0].Targets.Addr()
	pattern := b.lan.Frame(lab.Datagram{From: netip.AddrPortFrom(sourceHost, 2000), To: netip.AddrPortFrom(first, 2000), Payload: make([]byte, 64)}, false)
	n := uint32(0)
	next := func(frame []byte) int {
		length := copy(frame, pattern)
		frame[targetAt+1] += byte(n % uint32(len(silentPeers)))
		binary.BigEndian.PutUint16(frame[targetAt+2:], uint16(n/uint32(len(silentPeers))*step%hosts))
		n++
		binary.BigEndian.PutUint16(frame[checksumAt:], 0)
		binary.BigEndian.PutUint16(frame[checksumAt:], lab.HeaderChecksum(frame[ipAt:udpAt]))
		return length
	}
	return func(_ context.Context, messages int) (int, error) { return b.load.Send(messages, next) }, nil
}

// soft.max as shipped, and in small: one window of silence fills that, since no more than a thousand selectors wait at once.
const (
	shippedSoftMax = 4096
	quickSoftMax   = 512
)

// silenceLimit is how long peers may take to be silent for long enough, on a busy machine.
const silenceLimit = 2 * time.Minute

// softSAs waits until there are as many as may be, and attacks once more. It adds what could not become one to what was refused.
func (b *bed) softSAs(ctx context.Context, attack attack, refused map[string]float64) (*SoftSAs, error) {
	found := SoftSAs{Limit: cmp.Or(b.softMax, shippedSoftMax)}
	if err := lab.Until(ctx, nil, "soft SAs", silenceLimit, func() (bool, error) {
		a, err := b.account(ctx)
		if found.Most = max(found.Most, int(a.soft)); err != nil || found.Most >= found.Limit {
			return true, err
		}
		_, err = attack(ctx, sample)
		return false, err
	}); err != nil {
		return nil, err
	}
	found.Reached = found.Most
	const more = 64
	for range more {
		if _, err := attack(ctx, sample); err != nil {
			return nil, err
		}
	}
	a, err := b.settled(ctx)
	for counter, n := range a.refused {
		if strings.HasPrefix(counter, softRefused) {
			refused[counter] = n
		}
	}
	found.Most = max(found.Most, int(a.soft))
	return &found, err
}
