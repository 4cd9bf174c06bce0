package lab

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// CaptureOptions say what to keep of the frames that are seen.
type CaptureOptions struct {
	// Snap is how many octets of a frame are looked at and kept; 0 means whole frames.
	Snap int
	// Path is the pcap file to write, none when empty.
	Path string
	// Marker is a payload that must never be seen on the wire; frames that hold it are counted.
	Marker []byte
}

// maxPcap bounds a pcap file in octets; frames after that are counted and not written.
const maxPcap = 64 << 20

// wholeFrame is a snap length that no frame of a lab reaches, in octets.
const wholeFrame = 1 << 16

// Capture watches the network between two sites: every frame is seen once, where it enters the
// bridge, so each site's frames are counted apart.
type Capture struct {
	stop    atomic.Bool
	done    sync.WaitGroup
	clear   clearRule
	options CaptureOptions

	mu      sync.Mutex
	writer  *pcapWriter
	written int
	tallies [2]Tally
	err     error
}

// Capture starts watching the WAN of the sites. Stop it to read the result; a forgotten one ends with
// the lab.
func (s *Sites) Capture(options CaptureOptions) (*Capture, error) {
	if options.Snap == 0 {
		options.Snap = wholeFrame
	}
	c := &Capture{options: options, clear: clearRule{s.A.LAN, s.B.LAN}}
	if options.Path != "" {
		var err error
		if c.writer, err = createPcap(options.Path, options.Snap); err != nil {
			return nil, err
		}
	}
	for i, link := range []string{s.A.wanPort(), s.B.wanPort()} {
		var r *ring
		err := s.WAN.Do(func() (err error) {
			r, err = openRing(link, options.Snap)
			return err
		})
		if err != nil {
			c.finish()
			return nil, fmt.Errorf("lab: %w", err)
		}
		c.done.Add(1)
		go c.watch(r, i)
	}
	s.Defer(func() error { c.finish(); return nil })
	return c, nil
}

// drainWait is longer than the kernel keeps a part-filled block: a ring without a new block for this
// long after the end of the capture holds no more frames.
const drainWait = 3 * ringRetireMS * time.Millisecond

// watch reads one ring until the capture is stopped and the ring is empty.
func (c *Capture) watch(r *ring, side int) {
	defer c.done.Done()
	defer r.close()
	for {
		stopping := c.stop.Load()
		more, err := r.poll(drainWait, func(at time.Time, frame []byte, length int) { c.see(side, at, frame, length) })
		if err != nil {
			c.fail(err)
			return
		}
		if stopping && !more {
			break
		}
	}
	lost, err := r.lost()
	if err != nil {
		c.fail(err)
		return
	}
	c.mu.Lock()
	c.tallies[side].Lost += lost
	c.mu.Unlock()
}

// see counts and writes one frame.
func (c *Capture) see(side int, at time.Time, frame []byte, length int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tallies[side].add(frame, length, c.clear, c.options.Marker)
	if c.writer == nil || c.written+len(frame) > maxPcap {
		return
	}
	c.written += len(frame)
	if err := c.writer.write(at, frame, length); err != nil && c.err == nil {
		c.err = err
	}
}

// fail remembers the first error.
func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("lab: capture: %w", err)
	}
}

// Sofar returns what the sites a and b have sent up to now.
func (c *Capture) Sofar() (a, b Tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tallies[0].clone(), c.tallies[1].clone()
}

// Stop ends the capture and returns what the sites a and b sent while it ran.
func (c *Capture) Stop() (a, b Tally, err error) {
	c.finish()
	a, b = c.Sofar()
	return a, b, c.err
}

// finish ends the readers and closes the file; calling it again is harmless.
func (c *Capture) finish() {
	c.stop.Store(true)
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writer == nil {
		return
	}
	if err := c.writer.close(); err != nil && c.err == nil {
		c.err = fmt.Errorf("lab: capture file: %w", err)
	}
	c.writer = nil
}
