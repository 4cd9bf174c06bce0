package joined

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"sallyport/perf/lab"
	"sallyport/pmd/mbuf"
)

// link carries frames between the gateways, and is the hosts behind them: one sends numbered packets at a steady rate, the other looks for
// gaps.
type link struct {
	a, b *end
	load atomic.Pointer[load]

	stopped atomic.Bool          // the load sends no more, and is still received
	holds   atomic.Pointer[load] // the one that the goroutine works on
}

// load is traffic from the host behind a to the one behind b. The link's goroutine owns it until it is taken off the link.
type load struct {
	interval time.Duration // between packets
	length   int           // octets of an IP packet
	flows    int           // that take turns, told apart by their source ports
	both     bool          // the host behind b sends as many

	began   time.Time
	sent    atomic.Uint64
	arrived uint64
	unsent  uint64 // the port's queue was full: not the gateway's doing
	last    time.Time
	longest time.Duration // between two arrivals
	next    uint64
	late    uint64 // behind a later one

	complete atomic.Bool // all have arrived and no more are sent
}

// offered is how many packets the gateways have got.
func (l *load) offered() uint64 {
	if l.both {
		return 2*l.sent.Load() - l.unsent
	}
	return l.sent.Load() - l.unsent
}

// mostUnderWay is how many packets may be in the gateways: fewer than each of the link's queues holds. Where a worker does not run for a while, on a busy
// machine, the load waits for it.
const mostUnderWay = ringSize / 2

const (
	batchSize = 64
	idlePause = 20 * time.Microsecond
)

func (w *link) run(ctx context.Context) {
	for ctx.Err() == nil {
		moved := w.pass(w.a, w.b) + w.pass(w.b, w.a)
		l, stopped := w.load.Load(), w.stopped.Load()
		w.holds.Store(l)
		if l != nil && !stopped {
			w.send(l)
		}
		moved += w.receive(w.b, l)
		back := l
		if l != nil && !l.both {
			back = nil // the host behind a wants nothing
		}
		moved += w.receive(w.a, back)
		if l != nil && stopped && l.arrived == l.offered() {
			l.complete.Store(true)
		}
		if moved == 0 {
			time.Sleep(idlePause)
		}
	}
}

// take empties a port's queues, up to a batch of each, and gives the frames' octets.
func take(p *port, keep func(frames [][]byte)) (total int) {
	for _, tx := range p.tx {
		if tx.Len() == 0 {
			continue
		}
		var batch [batchSize]unsafe.Pointer
		n := tx.DequeueBurst(batch[:])
		keep(mbuf.Frames(batch[:n]))
		mbuf.FreeBulk(batch[:n])
		total += n
	}
	return total
}

// pass copies what a gateway sends into buffers of the other, as a link does.
func (w *link) pass(from, to *end) int {
	return take(&from.ports[wan], func(frames [][]byte) { to.receive(wan, frames) })
}

// receive puts frames on a port's queues and says how many did not fit.
func (e *end) receive(number int, frames [][]byte) (lost int) {
	for queue, rx := range e.ports[number].rx {
		part := frames
		if e.workers > 1 {
			part = nil
			for _, frame := range frames {
				if e.queueOf(frame) == queue {
					part = append(part, frame)
				}
			}
		}
		mbufs, err := mbuf.FromFrames(e.pool, part)
		if err != nil {
			return lost + len(part)
		}
		n := rx.EnqueueBurst(mbufs)
		mbuf.FreeBulk(mbufs[n:])
		lost += len(mbufs) - n
	}
	return lost
}

const protocolESP = 50

// queueOf is what a network card does that knows whose an SA is: ESP goes to that worker, by the SPI where it is nobody's, and UDP by its source port.
func (e *end) queueOf(frame []byte) int {
	if len(frame) < ethernet+ipHeader+udpHeader {
		return 0
	}
	inside := frame[ethernet+ipHeader:]
	if frame[ethernet+9] != protocolESP {
		return int(binary.BigEndian.Uint16(inside)) % e.workers
	}
	spi := binary.BigEndian.Uint32(inside)
	if owner, known := e.owners.Load(spi); known {
		return owner.(int)
	}
	return int(spi) % e.workers
}

// send sends what has become due.
func (w *link) send(l *load) {
	if l.offered()-l.arrived >= mostUnderWay {
		return
	}
	due := uint64(time.Since(l.began) / l.interval)
	var there, back [][]byte
	number := l.sent.Load()
	for ; number < due && len(there) < batchSize; number++ {
		there = append(there, numbered(w.a, w.b, number, l.length, number%uint64(l.flows)))
		if l.both {
			back = append(back, numbered(w.b, w.a, number, l.length, number%uint64(l.flows)))
		}
	}
	l.sent.Store(number)
	if len(there) > 0 {
		l.unsent += uint64(w.a.receive(lan, there))
	}
	if len(back) > 0 {
		l.unsent += uint64(w.b.receive(lan, back))
	}
}

const (
	ipHeader  = 20
	udpHeader = 8
	ethernet  = 14
	firstPort = 1000 // of the first flow
)

// numbered is a UDP packet of a flow from the host of one gateway to that of the other with its number as payload.
func numbered(from, to *end, number uint64, length int, flow uint64) []byte {
	frame := make([]byte, ethernet+length)
	copy(frame, from.ports[lan].mac)
	copy(frame[6:], hostMAC)
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	ip := frame[ethernet:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	copy(ip[12:], address(from.host()))
	copy(ip[16:], address(to.host()))
	binary.BigEndian.PutUint16(ip[10:], lab.HeaderChecksum(ip[:ipHeader]))
	binary.BigEndian.PutUint16(ip[ipHeader:], uint16(firstPort+flow))
	binary.BigEndian.PutUint16(ip[ipHeader+2:], 2000)
	binary.BigEndian.PutUint16(ip[ipHeader+4:], uint16(length-ipHeader))
	binary.BigEndian.PutUint64(ip[ipHeader+udpHeader:], number)
	return frame
}

func address(a netip.Addr) []byte { return a.AsSlice() }

// receive is the host behind a gateway.
func (w *link) receive(at *end, l *load) int {
	return take(&at.ports[lan], func(frames [][]byte) {
		if l == nil {
			return
		}
		now := time.Now()
		for _, frame := range frames {
			if len(frame) < ethernet+ipHeader+udpHeader+8 || !bytes.Equal(frame[ethernet+16:ethernet+ipHeader], address(at.host())) {
				continue
			}
			l.take(now, binary.BigEndian.Uint64(frame[ethernet+ipHeader+udpHeader:]))
		}
	})
}

func (l *load) take(now time.Time, number uint64) {
	if !l.last.IsZero() {
		l.longest = max(l.longest, now.Sub(l.last))
	}
	l.last = now
	l.arrived++
	if number < l.next {
		l.late++
	}
	l.next = max(l.next, number+1)
}
