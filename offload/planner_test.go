package offload

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"sallyport/crypto"
	"sallyport/offload/softnic"
	"sallyport/pipeline"
)

// Outbound the whole protocol is best; inbound it would take the replay window to where nobody can read it, so crypto is.
func TestPlanOfAPort(t *testing.T) {
	both := softnic.Options{InlineCrypto: true, InlineProtocol: true}
	for _, c := range []struct {
		card     softnic.Options
		outbound bool
		protocol bool
	}{
		{both, true, true}, {both, false, false},
		{softnic.Options{InlineCrypto: true}, true, false}, {softnic.Options{InlineCrypto: true}, false, false},
		{softnic.Options{InlineProtocol: true}, true, true}, {softnic.Options{InlineProtocol: true}, false, true},
	} {
		t.Run(fmt.Sprintf("%+v outbound %t", c.card, c.outbound), func(t *testing.T) {
			r := newRig(t, rigOptions{card: &c.card})
			sa := inlineSA(t, "aes128gcm16", c.outbound)
			session := r.open(sa)
			if session.Protocol != c.protocol || session.Port != uint16(r.ports[wan]) || session.Handle == nil || session.Context == nil {
				t.Errorf("session %+v", session)
			}
			counters := r.nic.Counters()
			if rules := map[bool]int{true: 0, false: 1}[c.outbound]; counters.SessionsLive != 1 || counters.FlowsLive != rules {
				t.Errorf("the NIC has %+v, expected %d rules", counters, rules)
			}
			chosen := r.planner.Explain(r.counted(sa, &session, ""))
			if want := map[bool]Plan{true: InlineProtocol, false: InlineCrypto}[c.protocol]; chosen.Plan != want || chosen.Device != "wan" {
				t.Errorf("plan %+v", chosen)
			}
		})
	}
}

// Each thing that an SA needs is asked for, and a refusal says which.
func TestRefusals(t *testing.T) {
	protocolOnly, cryptoOnly := &softnic.Options{InlineProtocol: true}, &softnic.Options{InlineCrypto: true}
	dscp := uint8(10)
	for name, c := range map[string]struct {
		card   *softnic.Options
		order  []Class
		suite  string
		change func(*pipeline.InlineSA)
		says   string
	}{
		"no security at all":    {nil, nil, "aes128gcm16", func(*pipeline.InlineSA) {}, "net_ring does no IPsec"},
		"not in the order":      {cryptoOnly, []Class{Lookaside, CPU}, "aes128-sha256", func(*pipeline.InlineSA) {}, "comes first in the order"},
		"inline left out":       {cryptoOnly, []Class{CPU}, "aes128gcm16", func(*pipeline.InlineSA) {}, "ipsec_mb comes first in the order"},
		"algorithm":             {cryptoOnly, nil, "aes128ccm16", func(*pipeline.InlineSA) {}, "has no ENCR_AES_CCM_16"},
		"key size":              {&softnic.Options{InlineCrypto: true, Suites: []crypto.Suite{{Encr: crypto.EncrAESGCM16, KeyBits: 256}}}, nil, "aes128gcm16", func(*pipeline.InlineSA) {}, "key 16"},
		"no encryption":         {cryptoOnly, nil, "null-sha256", func(*pipeline.InlineSA) {}, "without encryption"},
		"window":                {protocolOnly, nil, "aes128gcm16", func(sa *pipeline.InlineSA) { sa.Outbound, sa.ReplayWindow = false, 1<<20 }, "a replay window of"},
		"padding":               {protocolOnly, nil, "aes128gcm16", func(sa *pipeline.InlineSA) { sa.Encapsulation.TFCPad = 1000 }, "no padding"},
		"fragments behind":      {protocolOnly, nil, "aes128gcm16", func(sa *pipeline.InlineSA) { sa.Encapsulation.FragmentAfter = true }, "no fragments of what is encapsulated"},
		"the data plane's word": {cryptoOnly, nil, "aes128gcm16", func(sa *pipeline.InlineSA) { sa.NoCrypto = "not like this" }, "not like this"},
		"wrong keys":            {cryptoOnly, nil, "aes128gcm16", func(sa *pipeline.InlineSA) { sa.Keymat = crypto.NewSecret(make([]byte, 7)) }, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{card: c.card, order: c.order})
			sa := inlineSA(t, c.suite, true)
			sa.Encapsulation.DSCP = &dscp
			c.change(sa)
			session, err := r.planner.Open(uint16(r.ports[wan]), sa)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("session %+v, %v, expected a refusal with %q", session, err, c.says)
			}
			if r.nic != nil && (r.nic.Counters().SessionsMade != 0 || r.nic.Counters().SessionsRefused != 0) {
				t.Errorf("the NIC was asked: %+v", r.nic.Counters())
			}
		})
	}
	r := newRig(t, rigOptions{})
	if _, err := r.planner.Open(999, inlineSA(t, "aes128gcm16", true)); err == nil {
		t.Error("a port that is none has a session")
	}
	elsewhere := inlineSA(t, "aes128gcm16", true)
	elsewhere.VLAN = 7
	if _, err := r.planner.Open(uint16(r.ports[wan]), elsewhere); err == nil {
		t.Error("a VLAN that no port has has a session")
	}
}

// S-102: a NIC that lacks an algorithm, by its word or in truth. That one goes by the next plan, the others stay with the NIC, and it is said why.
func TestMissingAlgorithm(t *testing.T) {
	gcm := []crypto.Suite{suite(t, "aes128gcm16")}
	for name, c := range map[string]struct {
		card  softnic.Options
		fault softnic.Fault
		says  string
	}{
		"as it says":        {softnic.Options{InlineCrypto: true, Suites: gcm}, softnic.Fault{}, "has no ENCR_AES_CBC"},
		"though it says so": {softnic.Options{InlineCrypto: true}, softnic.Fault{Lack: []crypto.Suite{suite(t, "aes128-sha256")}}, "refused the session though it says that it can"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{card: &c.card})
			must(t, r.nic.Inject(c.fault))
			lacked, had := inlineSA(t, "aes128-sha256", true), inlineSA(t, "aes128gcm16", true)
			session := r.open(had)
			_, err := r.planner.Open(uint16(r.ports[wan]), lacked)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("found %v, expected a refusal with %q", err, c.says)
			}
			if chosen := r.planner.Explain(r.counted(had, &session, "")); chosen.Plan != InlineCrypto {
				t.Errorf("what it has: %+v", chosen)
			}
			chosen := r.planner.Explain(r.counted(lacked, nil, err.Error()))
			if chosen.Plan != CPUCrypto || chosen.Device != "ipsec_mb" {
				t.Errorf("what it lacks goes by %+v", chosen)
			}
			said := map[Plan]string{}
			for _, refused := range chosen.Refused {
				if refused.Device == "wan" {
					said[refused.Plan] = refused.Refusal
				}
			}
			if !strings.HasSuffix(said[InlineCrypto], c.says) && !strings.HasPrefix(said[InlineCrypto], "the driver "+c.says) || said[InlineProtocol] != "the port has none" {
				t.Errorf("refused for %q", said)
			}
		})
	}
}

// A NIC that has no more room, or fails every second session: an SA is refused or has a session, and all are taken back.
func TestNICFails(t *testing.T) {
	t.Run("room of the NIC", func(t *testing.T) {
		r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}})
		must(t, r.nic.Inject(softnic.Fault{Full: true}))
		if _, err := r.planner.Open(uint16(r.ports[wan]), inlineSA(t, "aes128gcm16", false)); err == nil {
			t.Error("a session where there is no room")
		}
	})
	t.Run("room for sessions", func(t *testing.T) {
		r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}, sessions: 2})
		for spi := range uint32(2) {
			sa := inlineSA(t, "aes128gcm16", false)
			sa.SPI += spi
			r.open(sa)
		}
		if _, err := r.planner.Open(uint16(r.ports[wan]), inlineSA(t, "aes256gcm16", true)); err == nil || !strings.Contains(err.Error(), "no room for another session") {
			t.Errorf("found %v", err)
		}
	})
	t.Run("every second", func(t *testing.T) {
		r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}})
		must(t, r.nic.Inject(softnic.Fault{FailSessions: 2}))
		failed := 0
		for spi := range uint32(8) {
			sa := inlineSA(t, "aes128gcm16", false)
			sa.SPI += spi
			session, err := r.planner.Open(uint16(r.ports[wan]), sa)
			if err != nil {
				failed++
				continue
			}
			defer func() { check(t, r.planner.Close(session)) }()
		}
		if failed != 4 || r.nic.Counters().SessionsLive != 4 || r.nic.Counters().FlowsLive != 4 {
			t.Errorf("%d of 8 refused, %+v", failed, r.nic.Counters())
		}
	})
	t.Run("two of one SPI", func(t *testing.T) { // the rule of the second finds its place taken
		r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}})
		r.open(inlineSA(t, "aes128gcm16", false))
		if _, err := r.planner.Open(uint16(r.ports[wan]), inlineSA(t, "aes128gcm16", false)); err == nil || !strings.Contains(err.Error(), "no rule for its packets") {
			t.Errorf("found %v", err)
		}
		if live := r.nic.Counters().SessionsLive; live != 1 {
			t.Errorf("%d sessions live, expected that of the first", live)
		}
	})
}

// A NIC that is gone takes no session back. It is asked again when others come and go, and when it is there again all is given back.
func TestNICVanishes(t *testing.T) {
	r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true, InlineProtocol: true}})
	sessions := []pipeline.InlineSession{}
	for _, outbound := range []bool{true, false} {
		session, err := r.planner.Open(uint16(r.ports[wan]), inlineSA(t, "aes128gcm16", outbound))
		must(t, err)
		sessions = append(sessions, session)
	}
	must(t, r.nic.Inject(softnic.Fault{Vanished: true}))
	for _, session := range sessions {
		if err := r.planner.Close(session); err == nil {
			t.Error("a NIC that is gone took a session back")
		}
		if err := r.planner.Close(session); err == nil || !strings.Contains(err.Error(), "no such session") {
			t.Errorf("closed twice: %v", err)
		}
	}
	if _, err := r.planner.Open(uint16(r.ports[wan]), inlineSA(t, "aes128gcm16", true)); err == nil {
		t.Error("a NIC that is gone made a session")
	}
	must(t, r.nic.Inject(softnic.Fault{}))
	r.open(inlineSA(t, "aes256gcm16", true))
	if counters := r.nic.Counters(); counters.SessionsLive != 1 || counters.FlowsLive != 0 {
		t.Errorf("the NIC is back and has %+v, expected the new session alone", counters)
	}
}

// A NIC that is lost is asked for nothing, however many sessions are to be closed, until it is probed: then all is given back.
func TestLostNICIsLeftAlone(t *testing.T) {
	r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}})
	id := uint16(r.ports[wan])
	var sessions []pipeline.InlineSession
	for spi := range uint32(8) {
		sa := inlineSA(t, "aes128gcm16", spi%2 == 0)
		sa.SPI += spi
		session, err := r.planner.Open(id, sa)
		must(t, err)
		sessions = append(sessions, session)
	}
	r.planner.Lose(id)
	for _, session := range sessions {
		if err := r.planner.Close(session); !errors.Is(err, errLost) {
			t.Errorf("closed: %v", err)
		}
	}
	if _, err := r.planner.Open(id, inlineSA(t, "aes128gcm16", true)); !errors.Is(err, errLost) {
		t.Errorf("opened: %v", err)
	}
	if c := r.nic.Counters(); c.SessionsLive != 8 || c.SessionsMade != 8 || c.FlowsLive != 4 {
		t.Errorf("the NIC was asked: %+v", c)
	}
	must(t, r.nic.Inject(softnic.Fault{Vanished: true}))
	if err := r.planner.Probe(id); err == nil {
		t.Error("a NIC that is gone is back")
	}
	if _, err := r.planner.Open(id, inlineSA(t, "aes128gcm16", true)); !errors.Is(err, errLost) {
		t.Errorf("opened: %v", err)
	}
	must(t, r.nic.Inject(softnic.Fault{}))
	must(t, r.planner.Probe(id))
	if c := r.nic.Counters(); c.SessionsLive != 0 || c.FlowsLive != 0 {
		t.Errorf("the NIC is back and has %+v", c)
	}
	r.open(inlineSA(t, "aes128gcm16", true))
}

// The planner does not end under its sessions.
func TestStopWithSessions(t *testing.T) {
	r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}})
	r.open(inlineSA(t, "aes128gcm16", true))
	if err := r.planner.Stop(); err == nil {
		t.Error("stopped with a session")
	}
	info := r.planner.Ports()
	if len(info) != 2 || info[lan].Why != "net_ring does no IPsec" || len(info[wan].Plans) != 1 || info[wan].Plans[0] != InlineCrypto {
		t.Errorf("ports: %+v", info)
	}
}

// No key stays behind where a session was: after it was closed, after its rule was refused, and after the driver had refused it.
func TestKeysAreGone(t *testing.T) {
	r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}, sessions: 3})
	sa := inlineSA(t, "aes128gcm16", false)
	key := sa.Keymat.Bytes()[:sa.Suite.KeyLen()] // which is the first round key of AES too
	session, err := r.planner.Open(uint16(r.ports[wan]), sa)
	must(t, err)
	const most = 1024 // the head of a session, where the software NIC has its keys
	memory := unsafe.Slice((*byte)(session.Handle), most)
	if !bytes.Contains(memory, key) {
		t.Fatal("the session's memory does not hold the key: this test looks in the wrong place")
	}
	must(t, r.planner.Close(session))
	if bytes.Contains(memory, key) {
		t.Error("the key is in memory after Close")
	}
	must(t, r.nic.Inject(softnic.Fault{Lack: []crypto.Suite{sa.Suite}}))
	for range 3 { // the whole pool
		if _, err := r.planner.Open(uint16(r.ports[wan]), sa); err == nil {
			t.Error("a session that the NIC lacks")
		}
		if bytes.Contains(memory, key) {
			t.Error("the key is in memory after a refusal")
		}
	}
}

// While a driver takes its time over a session SAs and ports are shown, other ports are asked, and the NIC may be found lost, which ends what was still to be asked of it.
func TestSlowDriverHoldsUpNobody(t *testing.T) {
	r := newRig(t, rigOptions{card: &softnic.Options{InlineCrypto: true}})
	sa, id := inlineSA(t, "aes128gcm16", true), uint16(r.ports[wan])
	session, err := r.planner.Open(id, sa)
	must(t, err)
	nic := r.planner.at(id, 0).nic
	nic.driver.Lock() // as long as a driver does not answer
	next := *sa
	next.SPI++
	refused := make(chan error)
	go func() {
		_, err := r.planner.Open(id, &next)
		refused <- err
	}()
	shown := r.planner.Explain(r.counted(sa, &session, ""))
	if shown.Plan != InlineCrypto || len(r.planner.Ports()) != 2 || !r.planner.Offers(id) || r.planner.Removed(id) {
		t.Errorf("%+v", shown)
	}
	if _, err := r.planner.Open(uint16(r.ports[lan]), sa); err == nil || errors.Is(err, errLost) {
		t.Errorf("a port without IPsec: %v", err)
	}
	r.planner.Lose(id)
	if err := r.planner.Close(session); !errors.Is(err, errLost) {
		t.Errorf("closed: %v", err)
	}
	nic.driver.Unlock()
	if err := <-refused; !errors.Is(err, errLost) {
		t.Errorf("opened by a NIC that was found lost: %v", err)
	}
	must(t, r.planner.Probe(id))
	if c := r.nic.Counters(); c.SessionsLive != 0 {
		t.Errorf("%+v", c)
	}
}
