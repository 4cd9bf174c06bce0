package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PingResult is what became of echo requests.
type PingResult struct {
	Sent, Received      int
	FirstLost, LastLost int // of those without an answer, from 1; 0 when there is none
	LastAnswered        int // 0 when none is
}

// Lost is how many echo requests had no answer.
func (r PingResult) Lost() int { return r.Sent - r.Received }

// PingOptions say how many echo requests to send, how far apart, and what they carry.
type PingOptions struct {
	Source   netip.Addr // of the sender, chosen by the kernel when not valid
	Count    int        // StartPing sends until it is stopped when 0
	Interval time.Duration
	Pattern  string        // repeated through the payload, none when empty
	Wait     time.Duration // for answers, once the last request is sent; a minute when 0
}

const (
	// pingWait is how long answers may take on a busy machine. It is spent only where there is none.
	pingWait = time.Minute
	// pingPayload is what ping sends by default, in octets: a number, then the pattern.
	pingPayload = 56
	pingNumber  = 8
)

// More than pingWindow requests since the last that is answered are followed pingBackOff times as slowly: a machine that has not had the time to take
// packets must not overflow the queue of a socket (some 270 small frames by default), which would look like a loss on the way.
const (
	pingWindow  = 100
	pingBackOff = 10
)

// Pings are echo requests that are being sent. Unlike ping, which leaves one interval after it has sent the last, they wait for every answer.
type Pings struct {
	conn    net.PacketConn
	to      netip.Addr
	options PingOptions
	id      uint16 // tells these answers from those to others in the namespace

	stop  chan struct{} // closed to end the sending
	ended sync.Once
	sent  chan struct{} // closed when the sending has ended
	read  chan struct{} // the same of the reading

	mu      sync.Mutex
	result  PingResult
	waiting map[int]struct{} // sent and not answered
	err     error
}

// pingID numbers the Pings of this process.
var pingID atomic.Uint32

// Ping sends echo requests from the namespace and counts the answers. No answer is a count, not an error.
func (n *Namespace) Ping(ctx context.Context, to netip.Addr, o PingOptions) (PingResult, error) {
	o.Count = max(o.Count, 1)
	p, err := n.StartPing(to, o)
	if err != nil {
		return PingResult{}, err
	}
	select {
	case <-p.sent:
	case <-ctx.Done():
	}
	return p.Stop(ctx)
}

// Reach sends echo requests one after the other until one is answered. While a gateway asks for the link address of a host it keeps 32 packets for it: where
// pings follow each other closely and none may be lost, a busy machine must not have it ask only then.
func (n *Namespace) Reach(ctx context.Context, to netip.Addr, limit time.Duration) error {
	return Until(ctx, nil, "an answer from "+to.String(), limit, func() (bool, error) {
		result, err := n.Ping(ctx, to, PingOptions{Wait: reachWait})
		return result.Received == 1, err
	})
}

// reachWait is how long Reach waits for an answer before it asks again.
const reachWait = 5 * time.Second

// StartPing sends echo requests in the background, until they are Count or Stop is called, or the lab is closed.
func (n *Namespace) StartPing(to netip.Addr, o PingOptions) (*Pings, error) {
	if o.Wait == 0 {
		o.Wait = pingWait
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	network, source := "ip4:icmp", netip.IPv4Unspecified()
	if to.Is6() {
		network, source = "ip6:ipv6-icmp", netip.IPv6Unspecified()
	}
	if o.Source.IsValid() {
		source = o.Source
	}
	p := &Pings{to: to, options: o, id: uint16(pingID.Add(1)), stop: make(chan struct{}), sent: make(chan struct{}), read: make(chan struct{}),
		waiting: map[int]struct{}{}}
	err := n.Do(func() (err error) { // a socket belongs to the namespace of the thread that makes it
		config := net.ListenConfig{Control: roomForAnswers}
		p.conn, err = config.ListenPacket(context.Background(), network, source.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: ping %s from %s: %w", to, n.Name, err)
	}
	go p.send()
	go p.receive()
	n.lab.Defer(func() error { p.close(); return nil })
	return p, nil
}

// roomForAnswers has a socket hold more than the default before its reader comes.
func roomForAnswers(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rawPortBuffer)
	})
	return errors.Join(err, failed)
}

// send sends the requests.
func (p *Pings) send() {
	defer close(p.sent)
	tick := time.NewTicker(p.options.Interval)
	defer tick.Stop()
	for ticks := 0; ; ticks++ {
		if number, due := p.next(ticks); due {
			if _, err := p.conn.WriteTo(p.request(number), &net.IPAddr{IP: p.to.AsSlice()}); err != nil {
				p.fail(err)
				return
			}
			if number == p.options.Count {
				return
			}
		}
		select {
		case <-tick.C:
		case <-p.stop:
			return
		}
	}
}

// next is the number of the next request, which counts as sent when it is due.
func (p *Pings) next(ticks int) (number int, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.result.Sent-p.result.LastAnswered >= pingWindow && ticks%pingBackOff != 0 {
		return 0, false
	}
	p.result.Sent++
	p.waiting[p.result.Sent] = struct{}{}
	return p.result.Sent, true
}

// Types of echo messages (RFC 792, RFC 4443 section 4) and their header, in octets.
const (
	echoRequest4 = 8
	echoReply4   = 0
	echoRequest6 = 128
	echoReply6   = 129
	echoHeader   = 8
)

// request is an echo request with a number, of which the sequence field holds the end.
func (p *Pings) request(number int) []byte {
	b := make([]byte, echoHeader+pingPayload)
	b[0] = echoRequest6
	if p.to.Is4() {
		b[0] = echoRequest4
	}
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], uint16(number))
	binary.BigEndian.PutUint64(b[echoHeader:], uint64(number))
	if pattern := p.options.Pattern; pattern != "" {
		for i := range b[echoHeader+pingNumber:] {
			b[echoHeader+pingNumber+i] = pattern[i%len(pattern)]
		}
	}
	if p.to.Is4() { // the kernel does that of ICMPv6
		sum := uint32(0)
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		sum = sum>>16 + sum&0xffff
		binary.BigEndian.PutUint16(b[2:], ^uint16(sum+sum>>16))
	}
	return b
}

// receive takes the answers until the socket is closed.
func (p *Pings) receive() {
	defer close(p.read)
	buffer := make([]byte, wholeFrame)
	for {
		n, from, err := p.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.fail(err)
			return
		}
		address, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		if address.Unmap() == p.to {
			p.answered(buffer[:n])
		}
	}
}

// answered counts an echo reply to one of the requests. A second one is none.
func (p *Pings) answered(b []byte) {
	reply := byte(echoReply6)
	if p.to.Is4() {
		reply = echoReply4
	}
	if len(b) != echoHeader+pingPayload || b[0] != reply || binary.BigEndian.Uint16(b[4:]) != p.id {
		return
	}
	number := int(binary.BigEndian.Uint64(b[echoHeader:]))
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, waited := p.waiting[number]; waited {
		delete(p.waiting, number)
		p.result.Received++
		p.result.LastAnswered = max(p.result.LastAnswered, number)
	}
}

// fail remembers the first error.
func (p *Pings) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = fmt.Errorf("lab: ping %s: %w", p.to, err)
	}
}

// Sofar is what has become of the requests up to now; an answer may be under way.
func (p *Pings) Sofar() (PingResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.result
	if len(p.waiting) > 0 {
		numbers := slices.Collect(maps.Keys(p.waiting))
		r.FirstLost, r.LastLost = slices.Min(numbers), slices.Max(numbers)
	}
	return r, p.err
}

// Pass waits for the answer to a request that is sent from now on, and returns what has become of all by then.
func (p *Pings) Pass(ctx context.Context, limit time.Duration) (PingResult, error) {
	before, err := p.Sofar()
	if err != nil {
		return before, err
	}
	now := before
	err = Until(ctx, nil, "an answer to a ping", limit, func() (bool, error) {
		now, err = p.Sofar()
		return now.LastAnswered > before.Sent, err
	})
	return now, err
}

// Stop ends the sending, waits for the answers that are under way and returns the result.
func (p *Pings) Stop(ctx context.Context) (PingResult, error) {
	return p.StopWhen(ctx, func(r PingResult) bool { return r.Lost() == 0 })
}

// StopWhen is Stop where some are known to be lost: it waits until the result is all that can come.
func (p *Pings) StopWhen(ctx context.Context, complete func(PingResult) bool) (PingResult, error) {
	p.endSending()
	// What does not come is a count, and no error.
	_ = Until(ctx, nil, "every answer", p.options.Wait, func() (bool, error) {
		result, err := p.Sofar()
		return complete(result), err
	})
	p.close()
	result, err := p.Sofar()
	return result, errors.Join(err, ctx.Err())
}

// endSending stops the requests; calling it again is harmless.
func (p *Pings) endSending() {
	p.ended.Do(func() { close(p.stop) })
	<-p.sent
}

// close ends all that goes on; calling it again is harmless.
func (p *Pings) close() {
	p.endSending()
	_ = p.conn.Close()
	<-p.read
}
