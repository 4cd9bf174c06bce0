package traffic

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// A gateway that knows none of four hosts, has room for 32 packets to each and gets no answer to ARP for 50 ms, gets 50 for each of them at once and loses none: the tester has it learn where they are
// before. What it learns by is in no count, and is not sent again for the next trial.
func TestGatewayLearns(t *testing.T) {
	g := &planeOnPath{path: newPath(t), handler: quiet{}, slow: 50 * time.Millisecond}
	g.open(t, []string{"aes128gcm16"})
	g.start(t)
	const hosts, packets = 4, 200
	config := g.config(both(Stream{Flows: hosts, Burst: packets, Rate: Rate{Packets: 100000}})...)
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	want(t, "hosts that the gateway has to ask for", uint64(len(tester.streams[1].pupils)), hosts)
	want(t, "peers that it has to ask for", uint64(len(tester.streams[0].pupils)), 1)
	limit := time.Now().Add(time.Minute)
	tester.config.drained = func() bool {
		sent, received := tester.counts()
		return sent > 0 && received >= sent || time.Now().After(limit)
	}
	var taught time.Time
	for range 2 {
		r, err := tester.Trial(t.Context(), Load{Packets: packets})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Streams {
			want(t, s.Name+": sent", s.Sent, packets)
			want(t, s.Name+": received", s.Received, packets)
			want(t, s.Name+": reordered and duplicates", s.Reordered+s.Duplicates+s.TooOld, 0)
		}
		if r.Verdict != Forwards {
			t.Errorf("verdict %s, %q", r.Verdict, r.Findings)
		}
		if !tester.taught.After(taught) {
			t.Error("the packets of a trial do not count as what the gateway knows hosts by")
		}
		taught = tester.taught
	}
}

// A target that forwards nothing is not waited for: the trial is made all the same.
func TestGatewayLearnsNothing(t *testing.T) {
	p := newPath(t)
	p.meddle = func(int, []byte) [][]byte { return nil }
	p.start(t)
	config := p.config(both(Stream{Flows: 100, Rate: Rate{Packets: 1000}})...)
	config.learn = time.Millisecond
	r := p.trial(t, config, Load{Packets: 10})
	for _, s := range r.Streams {
		want(t, s.Name+": sent", s.Sent, 10)
	}
	if r.Verdict != Silent {
		t.Errorf("verdict %s, %q", r.Verdict, r.Findings)
	}
}

// A target that loses one packet of each lesson is not waited for once for each: a trial begins while there are lessons left.
func TestGatewayLearnsTooSlowly(t *testing.T) {
	p := newPath(t)
	const hosts, packets = 1024, 16
	lessons := 0
	p.meddle = func(from int, frame []byte) [][]byte {
		if lessons++; lessons%lesson == 0 {
			return nil
		}
		return [][]byte{frame}
	}
	p.start(t)
	config := p.config(Stream{Direction: Outbound, Flows: hosts, Rate: Rate{Packets: 1000}})
	config.Tunnels[0].Near, config.Tunnels[0].Far = netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")
	config.learn = time.Second // a lesson may take longer where others are at work, and would end with that
	r := p.trial(t, config, Load{Packets: packets})
	p.stop()
	want(t, "sent", r.Streams[0].Sent, packets)
	if taught := lessons - packets; taught < lesson || taught >= hosts {
		t.Errorf("%d learning frames, expected less than %d", taught, hosts)
	}
}

// Who is interrupted while the gateway learns has sent nothing that counts.
func TestInterruptedWhileLearning(t *testing.T) {
	p := newPath(t)
	ctx, interrupt := context.WithCancel(t.Context())
	p.meddle = func(int, []byte) [][]byte { interrupt(); return nil }
	p.start(t)
	config := p.config(Stream{Direction: Outbound, Rate: Rate{Packets: 1000}})
	config.learn = time.Hour
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	r, err := tester.Trial(ctx, Load{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Interrupted || r.Verdict != "" || len(r.Streams) != 1 || r.Streams[0].Sent != 0 {
		t.Errorf("%+v", r)
	}
}
