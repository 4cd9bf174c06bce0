package offload

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/faulty"
	"sallyport/crypto/cryptodev/wholedev"
	"sallyport/pipeline"
)

// wholeRig is a rig with a crypto device that does all of ESP and nothing else, and one that does any crypto behind it.
func wholeRig(t *testing.T, order []Class, o wholedev.Options) (*rig, string) {
	t.Helper()
	name := fmt.Sprintf("crypto_null_offload%d", rigs)
	device, err := wholedev.Offer(name, o)
	must(t, err)
	t.Cleanup(device.Withdraw)
	r := newRig(t, rigOptions{order: order, devices: []string{name, "crypto_openssl_offload"}})
	must(t, device.Attach(1))
	return r, name
}

// S-102: of a crypto device that does all of ESP each thing is asked that an SA needs; a refusal says which, and the next way has the SA.
func TestLookasideProtocolRefusals(t *testing.T) {
	dscp := uint8(10)
	for name, c := range map[string]struct {
		device  wholedev.Options
		suite   string
		inbound bool
		change  func(*pipeline.InlineSA)
		says    string // nothing: it has the SA
	}{
		"all there":           {suite: "aes128gcm16"},
		"all there, inbound":  {suite: "aes256-sha256", inbound: true},
		"algorithm":           {suite: "aes128ccm16", says: "has no ENCR_AES_CCM_16"},
		"algorithm of two":    {device: wholedev.Options{NoChain: true}, suite: "aes128-sha256", says: "has no ENCR_AES_CBC"},
		"integrity":           {suite: "aes128-sha384", says: "has no AUTH_HMAC_SHA2_384_192"},
		"key size":            {device: wholedev.Options{NoKey256: true}, suite: "aes256gcm16", says: "key 32"},
		"mode":                {suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.Transport = true }, says: "no transport mode"},
		"outbound":            {device: wholedev.Options{NoOutbound: true}, suite: "aes128gcm16", says: "not for outbound SAs"},
		"inbound":             {device: wholedev.Options{NoInbound: true}, suite: "aes128gcm16", inbound: true, says: "not for inbound SAs"},
		"ESN":                 {device: wholedev.Options{NoESN: true}, suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.ESN = true }, says: "no extended sequence numbers"},
		"window":              {device: wholedev.Options{Window: 64}, suite: "aes128gcm16", inbound: true, says: "a replay window of 64 packets at most, this SA has 1024"},
		"ECN":                 {device: wholedev.Options{NoECN: true}, suite: "aes128gcm16", says: "does not carry the ECN field over"},
		"ECN that is not":     {device: wholedev.Options{NoECN: true}, suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.Encapsulation.ECNOff = true }},
		"DSCP":                {device: wholedev.Options{NoCopyDSCP: true}, suite: "aes128gcm16", says: "does not copy the DSCP"},
		"DSCP that is fixed":  {device: wholedev.Options{NoCopyDSCP: true}, suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.Encapsulation.DSCP = &dscp }},
		"DF":                  {device: wholedev.Options{NoCopyDF: true}, suite: "aes128gcm16", says: "does not copy the DF bit"},
		"UDP":                 {device: wholedev.Options{NoUDP: true}, suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.UDPEncap = true }, says: "no ESP in UDP"},
		"padding":             {suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.Encapsulation.TFCPad = 1000 }, says: "no padding and no dummy packets"},
		"fragments behind":    {suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.Encapsulation.FragmentAfter = true }, says: "no fragments of what is encapsulated"},
		"the data plane says": {suite: "aes128gcm16", inbound: true, change: func(sa *pipeline.InlineSA) { sa.NoProtocol = "not like this" }, says: "not like this"},
	} {
		t.Run(name, func(t *testing.T) {
			r, device := wholeRig(t, []Class{Lookaside, CPU}, c.device)
			sa := inlineSA(t, c.suite, !c.inbound)
			if c.change != nil {
				c.change(sa)
			}
			chosen := r.planner.Explain(r.counted(sa, nil, ""))
			if c.says == "" {
				if chosen.Plan != LookasideProtocol || chosen.Device != device {
					t.Errorf("%+v", chosen)
				}
				return
			}
			said := slices.ContainsFunc(chosen.Refused, func(refused Candidate) bool {
				return refused.Plan == LookasideProtocol && refused.Device == device && strings.Contains(refused.Refusal, c.says)
			})
			if chosen.Plan != LookasideCrypto || chosen.Device == device || !said {
				t.Errorf("%+v, expected the next device, and %q of %s", chosen, c.says, device)
			}
		})
	}
}

// S-102: a device that writes around packets gets those alone that leave it the room; what ESP itself needs is taken off before.
func TestRoomAroundPackets(t *testing.T) {
	room := pipeline.CryptoRoom()
	const gcm, cbc = 3 + 2 + 16, 15 + 2 + 16 // padding, trailer and ICV
	for name, c := range map[string]struct {
		suite         string
		inbound       bool
		change        func(*pipeline.InlineSA)
		front, behind int // that packets of the SA leave
	}{
		"inbound":   {suite: "aes128gcm16", inbound: true, front: room.Front, behind: room.Behind},
		"IPv4":      {suite: "aes128gcm16", front: room.Front - 20 - 8 - 8, behind: room.Behind - gcm},
		"CBC":       {suite: "aes128-sha256", front: room.Front - 20 - 8 - 16, behind: room.Behind - cbc},
		"UDP":       {suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.UDPEncap = true }, front: room.Front - 20 - 8 - 8 - 8, behind: room.Behind - gcm},
		"transport": {suite: "aes128gcm16", change: func(sa *pipeline.InlineSA) { sa.Transport = true }, front: room.Front - 8 - 8, behind: room.Behind - gcm},
		"IPv6": {suite: "aes128gcm16", front: room.Front - 40 - 8 - 8, behind: room.Behind - gcm, change: func(sa *pipeline.InlineSA) {
			sa.Local, sa.Remote = netip.MustParseAddrPort("[2001:db8::1]:4500"), netip.MustParseAddrPort("[2001:db8::2]:4500")
		}},
	} {
		for _, whole := range []bool{false, true} {
			if whole && name == "transport" { // which the device has not
				continue
			}
			t.Run(fmt.Sprintf("%s whole=%t", name, whole), func(t *testing.T) {
				device, want := fmt.Sprintf("crypto_openssl_room%d", rigs), LookasideCrypto
				if whole {
					device, want = fmt.Sprintf("crypto_null_room%d", rigs), LookasideProtocol
					offered, err := wholedev.Offer(device, wholedev.Options{})
					must(t, err)
					t.Cleanup(offered.Withdraw)
				}
				r := newRig(t, rigOptions{order: []Class{Lookaside, CPU}, devices: []string{device, "crypto_aesni_gcm0", "crypto_aesni_mb0"}})
				fault, err := faulty.Attach(device, 1)
				must(t, err)
				t.Cleanup(func() { check(t, fault.Detach()) })
				sa := inlineSA(t, c.suite, !c.inbound)
				if c.change != nil {
					c.change(sa)
				}
				for _, needs := range []struct {
					front, behind int
					says          string // nothing: it has the SA
				}{
					{c.front, c.behind, ""},
					{c.front + 1, 0, fmt.Sprintf("needs %d bytes free in front of a packet, of this SA's there are %d", c.front+1, c.front)},
					{0, c.behind + 1, fmt.Sprintf("needs %d bytes free behind a packet, of this SA's there are %d", c.behind+1, c.behind)},
				} {
					fault.NeedsRoom(needs.front, needs.behind)
					chosen := r.planner.Explain(r.counted(sa, nil, ""))
					if got := chosen.Plan == want && chosen.Device == device; got != (needs.says == "") {
						t.Errorf("%+v: goes by %+v", needs, chosen)
					}
					if needs.says != "" && !slices.Contains(chosen.Refused, Candidate{want, device, needs.says}) {
						t.Errorf("%+v: %+v", needs, chosen)
					}
				}
			})
		}
	}
}

// Where a device does all of ESP and its crypto too, outbound SAs go by the former. Inbound SAs go by the latter: their window stays where it can be read.
func TestLookasideProtocolOrCrypto(t *testing.T) {
	device, err := wholedev.Offer("crypto_openssl_both", wholedev.Options{})
	must(t, err)
	t.Cleanup(device.Withdraw)
	r := newRig(t, rigOptions{order: []Class{Lookaside, CPU}, devices: []string{"crypto_openssl_both"}})
	for outbound, want := range map[bool]Plan{true: LookasideProtocol, false: LookasideCrypto} {
		sa := inlineSA(t, "aes128gcm16", outbound)
		if chosen := r.planner.Explain(r.counted(sa, nil, "")); chosen.Plan != want || r.planner.PlaceOf(r.counted(sa, nil, "")).Plan != want {
			t.Errorf("outbound %t: %+v, expected %s", outbound, chosen, want)
		}
	}
	// without lookaside in the order nobody asks
	r = newRig(t, rigOptions{order: []Class{CPU}, devices: []string{"crypto_aesni_gcm0"}})
	if chosen := r.planner.Explain(r.counted(inlineSA(t, "aes128gcm16", true), nil, "")); chosen.Plan != CPUCrypto || len(chosen.Refused) != 0 {
		t.Errorf("%+v", chosen)
	}
}

// A device that keeps a session which it is asked to end is asked again when others come and go. What it never gives back has no keys when all is closed.
func TestLookasideProtocolKeepsSessions(t *testing.T) {
	device, err := wholedev.Offer("crypto_null_keeps", wholedev.Options{})
	must(t, err)
	t.Cleanup(device.Withdraw)
	r := newRig(t, rigOptions{order: []Class{Lookaside}, devices: []string{"crypto_null_keeps"}})
	sa := inlineSA(t, "aes128gcm16", true)
	session := func() {
		t.Helper()
		made, err := r.crypto.NewSession(sa.Suite, sa.Keymat, true, ofESP(sa))
		must(t, err)
		must(t, r.crypto.Free(made))
	}
	device.KeepSessions(true)
	session()
	session()
	if n := device.Sessions(); n != 2 {
		t.Errorf("%d sessions, expected the 2 that it keeps", n)
	}
	device.KeepSessions(false)
	session()
	if n := device.Sessions(); n != 0 {
		t.Errorf("%d sessions, expected none", n)
	}
	key := sa.Keymat.Bytes()[:sa.Suite.KeyLen()]
	device.KeepSessions(true)
	session()
	if faulty.Traces(key) == 0 {
		t.Error("the device keeps a session without its key: this test looks in the wrong place")
	}
	must(t, r.crypto.Close())
	if n := faulty.Traces(key); n != 0 {
		t.Errorf("the key is in memory %d times after all is closed", n)
	}
}

// ofESP asks for a session that may be of all of ESP.
func ofESP(sa *pipeline.InlineSA) cryptodev.SessionOption { return cryptodev.Of(sa.ESP()) }
