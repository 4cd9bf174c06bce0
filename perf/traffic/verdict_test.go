package traffic

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/report"
)

// A target of each kind, and what is said of it.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		verdict Verdict
		says    string
		prepare func(*path, *Config)
		check   func(*testing.T, *Result)
	}{
		{Silent, "none of 100 packets arrived", func(p *path, _ *Config) {
			p.meddle = func(int, []byte) [][]byte { return nil }
		}, func(t *testing.T, r *Result) {
			want(t, "lost", r.Streams[0].Lost, 100)
		}},
		{Reflects, "protected port: 100 frames came back", func(p *path, _ *Config) {
			p.echo = true
		}, func(t *testing.T, r *Result) {
			want(t, "received", r.Streams[0].Received, 100)
		}},
		{Reflects, "protected port: 100 frames came back", func(p *path, _ *Config) {
			p.meddle = func(_ int, frame []byte) [][]byte { // as a router does that has no other way
				back := slices.Concat(frame[6:12], frame[:6], frame[12:])
				p.hold(protected, back)
				return nil
			}
		}, nil},
		{OtherAddress, "100 packets from or for other addresses", func(p *path, _ *Config) {
			p.meddle = func(_ int, frame []byte) [][]byte { // an address translator, all checksums right
				ip := frame[etherLen:]
				ip[15], ip[10], ip[11] = ip[15]+1, 0, 0
				binary.BigEndian.PutUint16(ip[10:], lab.HeaderChecksum(ip[:ipv4Len]))
				sum := binary.BigEndian.Uint16(ip[ipv4Len+6:])
				if sum--; sum == 0 {
					sum = 0xffff
				}
				binary.BigEndian.PutUint16(ip[ipv4Len+6:], sum)
				return [][]byte{frame}
			}
		}, nil},
		{OtherAddress, "100 packets from or for other addresses", func(p *path, _ *Config) {
			p.meddle = func(_ int, frame []byte) [][]byte { // for another MAC address
				frame[5] ^= 0x40
				return [][]byte{frame}
			}
		}, nil},
		{OtherAddress, "1 answers by somebody else for addresses that are the tester's", func(p *path, c *Config) {
			// the other end has this end's address as well, and does not take it for the gateway's
			c.Unprotected.Addresses = append(c.Unprotected.Addresses, c.Protected.Addresses...)
			c.Unprotected.Gateway, c.Unprotected.MAC = netip.Addr{}, net.HardwareAddr{2, 'S', 'p', 0, 0, 1}
		}, nil},
		{Down, "unprotected port: nobody answers for 192.0.2.77", func(_ *path, c *Config) {
			c.Unprotected.Gateway = netip.MustParseAddr("192.0.2.77")
			c.Resolve = 500 * time.Millisecond
		}, func(t *testing.T, r *Result) {
			want(t, "sent", r.Streams[0].Sent, 0)
		}},
		{Forwards, "", func(_ *path, c *Config) {
			c.Protected.MAC, c.Unprotected.MAC = net.HardwareAddr{2, 'S', 'p', 0, 0, 2}, net.HardwareAddr{2, 'S', 'p', 0, 0, 1}
			c.Protected.Gateway, c.Protected.Addresses = netip.Addr{}, nil
		}, func(t *testing.T, r *Result) {
			want(t, "received", r.Streams[0].Received, 100)
			want(t, "ARP", r.Ports[0].ARP+r.Ports[1].ARP, 0)
		}},
		{Forwards, "", func(p *path, _ *Config) {
			p.meddle = func(_ int, frame []byte) [][]byte { // the kernel of the tester's own machine solicits routers, by its MAC address
				solicitation := slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 2}, frame[6:12], []byte{0x86, 0xdd}, make([]byte, 48))
				p.hold(protected, solicitation)
				return [][]byte{frame}
			}
		}, func(t *testing.T, r *Result) {
			want(t, "received", r.Streams[0].Received, 100)
			want(t, "foreign", r.Ports[0].Foreign, 100)
		}},
	} {
		t.Run(string(c.verdict), func(t *testing.T) {
			p := newPath(t)
			config := p.config(Stream{Direction: Outbound, Flows: 4, Rate: Rate{Packets: 1000}})
			c.prepare(p, &config)
			p.start(t)
			r := p.trial(t, config, Load{})
			if text := strings.Join(r.Findings, "\n"); r.Verdict != c.verdict || !strings.Contains(text, c.says) {
				t.Errorf("verdict %s, %q; want %s, %q", r.Verdict, text, c.verdict, c.says)
			}
			if c.check != nil {
				c.check(t, r)
			}
		})
	}
}

// Of numbers that the gateway has had nothing arrives inbound, and the reader is told what to do. IKE makes new SAs, which have none.
func TestUsedNumbers(t *testing.T) {
	for sequence, want := range map[uint64]bool{0: false, 3572: true} {
		r := Result{Sequence: sequence, Streams: []StreamResult{{Name: "inbound", Direction: Inbound, Sent: 10}}}
		r.judge()
		if said := strings.Contains(strings.Join(r.Findings, "\n"), "--sequence"); r.Verdict != Silent || said != want {
			t.Errorf("sequence %d: verdict %s, %q", sequence, r.Verdict, r.Findings)
		}
	}
}

// A port that takes nothing: the trial ends all the same, and says what has become of the packets.
func TestNeverHangs(t *testing.T) {
	p := newPath(t) // nobody empties its rings
	config := p.config(Stream{Direction: Outbound, Rate: Rate{Packets: 100000}})
	config.Protected.MAC, config.Unprotected.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}, net.HardwareAddr{2, 0, 0, 0, 0, 8}
	config.drained, config.Drain = nil, 10*time.Millisecond
	t.Cleanup(p.stop)
	r := p.trial(t, config, Load{Duration: 100 * time.Millisecond})
	s := r.Streams[0]
	want(t, "received", s.Received, 0)
	want(t, "offered", s.Offered, 10000)
	want(t, "missed", s.Missed, 10000-s.Sent-s.Unsent)
	if s.Sent > 1<<12-1 || s.Unsent == 0 || r.Verdict != Silent || !strings.Contains(strings.Join(r.Findings, "\n"), "the port had no room") {
		t.Errorf("%d unsent, verdict %s, %q", s.Unsent, r.Verdict, r.Findings)
	}
}

// Who is interrupted has a result, with exact counts.
func TestInterrupted(t *testing.T) {
	p := newPath(t)
	p.start(t)
	config := p.config(Stream{Direction: Outbound, Rate: Rate{Packets: 1000}})
	ctx, cancel := context.WithCancel(context.Background())
	config.Progress = func(progress Progress) {
		if progress.Sent == 0 || progress.Left == 0 {
			t.Errorf("progress %+v, want some packets and some time left", progress)
		}
		cancel()
	}
	config.drained, config.Drain = nil, time.Millisecond
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	r, err := tester.Trial(ctx, Load{Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Streams[0]; !r.Interrupted || s.Sent == 0 || s.Sent != s.Received+s.Lost {
		t.Errorf("interrupted %v, sent %d, received %d, lost %d", r.Interrupted, s.Sent, s.Received, s.Lost)
	}
}

// A target that dies while packets are sent, or loses most of them to the end.
func TestStopped(t *testing.T) {
	for verdict, last := range map[Verdict]int{Stopped: 200, Forwards: 0} {
		p := newPath(t)
		n := 0
		p.meddle = func(_ int, frame []byte) [][]byte {
			if n++; last > 0 && n > last || last == 0 && n%9 != 0 {
				return nil
			}
			return [][]byte{frame}
		}
		p.start(t)
		r := p.trial(t, p.config(Stream{Direction: Outbound, Rate: Rate{Packets: 1000}}), Load{Duration: 3 * time.Second})
		if r.Verdict != verdict || (verdict == Stopped) != (len(r.Findings) > 0 && strings.Contains(r.Findings[0], "nothing arrived of what was sent in the last ")) {
			t.Errorf("%s, %q, expected %s", r.Verdict, r.Findings, verdict)
		}
	}
}

// Over a link of IPv6, with neighbour discovery in place of ARP.
func TestIPv6Link(t *testing.T) {
	p := newPath(t)
	p.start(t)
	config := p.config(both(Stream{Flows: 9, Sizes: Sizes{84, 1518}, Rate: Rate{Packets: 10000}})...)
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	config.Protected.Addresses, config.Protected.Gateway = []netip.Addr{a}, b
	config.Unprotected.Addresses, config.Unprotected.Gateway = []netip.Addr{b}, a
	config.Tunnels = []Tunnel{{Name: "clear", Near: near6, Far: far6}}
	r := p.trial(t, config, Load{})
	for _, s := range r.Streams {
		want(t, "sent", s.Sent, 1000)
		want(t, "received", s.Received, 1000)
	}
	if r.Verdict != Forwards || r.Ports[0].ICMP == 0 || r.Ports[0].ARP != 0 {
		t.Errorf("verdict %s, %q; %d of ICMP, %d of ARP", r.Verdict, r.Findings, r.Ports[0].ICMP, r.Ports[0].ARP)
	}
}

// A rate in bits counts frames with their check sequence, and nothing is sent before it is due.
func TestPace(t *testing.T) {
	p := newPath(t)
	p.start(t)
	r := p.trial(t, p.config(Stream{Direction: Outbound, Sizes: Sizes{100, 300}, Burst: 4, Rate: Rate{Bits: 200 * 8 * 1000}}), Load{Duration: 200 * time.Millisecond})
	s := r.Streams[0]
	want(t, "sent at 1000 packets of 200 octets a second", s.Sent, 200)
	want(t, "octets", s.SentOctets, 200*200)
	if r.Seconds < 0.19 {
		t.Errorf("sent in %.3f s what is due in 0.196", r.Seconds)
	}
}

// Of a target that was interrupted before anything arrived nothing is said: neither that it is silent nor that it is down. The report says so, and has what there is.
func TestInterruptedBefore(t *testing.T) {
	p := newPath(t)
	p.meddle = func(int, []byte) [][]byte { return nil }
	p.start(t)
	for name, meanwhile := range map[string]bool{"before the gateway was found": false, "while packets were sent": true} {
		t.Run(name, func(t *testing.T) {
			config := p.config(both(Stream{Rate: Rate{Packets: 1000}})...)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			if meanwhile {
				config.Protected.MAC, config.Unprotected.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 8}, net.HardwareAddr{2, 0, 0, 0, 0, 9}
				config.Duration = time.Hour
				config.Progress = func(Progress) { interrupt() }
			} else {
				interrupt()
			}
			tester, err := Open(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer tester.Close()
			r, err := tester.Trial(ctx, Load{})
			if err != nil || !r.Interrupted || r.Verdict != "" || len(r.Streams) != 2 || meanwhile != (r.Streams[0].Sent > 0) {
				t.Fatalf("%+v, %v", r, err)
			}
			o, file := Options{Sizes: "64"}, filepath.Join(t.TempDir(), "out.json")
			if err := o.report(r, report.Machine{}, time.Now()).WriteJSON(file); err != nil {
				t.Fatal(err)
			}
			if read, err := report.Read(file); err != nil || !read.Interrupted || read.Verdict.Good || !strings.HasPrefix(read.Verdict.Text, "interrupted before") {
				t.Errorf("the report: %+v, %v", read, err)
			}
		})
	}
}
