package softnic_test

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/offload"
	"sallyport/offload/softnic"
)

// S-102: where the order has crypto devices beside the port, an SA goes by the first of them that can; beside a port it has a session of the CPU, so that what the
// port leaves undone arrives in its place, and no session of a device is left over.
func TestInlineBesideLookaside(t *testing.T) {
	const inline, lookaside, cpu = offload.Inline, offload.Lookaside, offload.CPU
	gcm := []crypto.Suite{suiteOf(t, "aes128gcm16")}
	for _, x := range []struct {
		order   []offload.Class
		devices []string
		suite   string
		plan    string // as of the port, or of a crypto device
		beside  string // who has the crypto session
		says    string // why no port, where there is none
	}{
		{[]offload.Class{inline, lookaside, cpu}, nil, "aes128gcm16", "inline", "ipsec_mb", ""},
		{[]offload.Class{inline, lookaside, cpu}, nil, "aes128-sha256", "lookaside_crypto", "crypto_aesni_mb0", "has no ENCR_AES_CBC"},
		{[]offload.Class{lookaside, inline, cpu}, nil, "aes128gcm16", "lookaside_crypto", "crypto_aesni_gcm0", "crypto_aesni_gcm0 comes first in the order"},
		{[]offload.Class{inline, cpu, lookaside}, nil, "aes128gcm16", "inline", "ipsec_mb", ""},
		{nil, []string{"crypto_openssl0"}, "aes128gcm16", "lookaside_crypto", "crypto_openssl0", "what a port leaves undone is the CPU's"},
		{[]offload.Class{inline, lookaside}, nil, "aes128gcm16", "lookaside_crypto", "crypto_aesni_gcm0", "what a port leaves undone is the CPU's"},
	} {
		for _, kind := range []softnic.Options{{InlineCrypto: true, Suites: gcm}, {InlineProtocol: true, Suites: gcm}} {
			t.Run(fmt.Sprintf("%v/%s/protocol=%t", x.order, x.suite, kind.InlineProtocol), func(t *testing.T) {
				pool, err := cryptodev.Open(cryptodev.Options{Devices: x.devices, QueuePairs: 1, Sessions: 64, Socket: cryptodev.SocketAny, Classes: offload.CryptoClasses(x.order)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { check(t, pool.Close()) })
				here, k := newOrdered(t, 1, kind, pool, x.order)
				there := newGateway(t, 2, nil, false, pool)
				for number := range uint32(2) {
					for _, sa := range rekey(here, there, x.suite, number) {
						chosen := k.Explain(&sa)
						if !strings.HasPrefix(string(chosen.Plan), x.plan) || sa.Device != x.beside || !strings.Contains(sa.Inline.Refused, x.says) || (sa.Inline.Refused == "") != (x.says == "") {
							t.Errorf("outbound %t: %+v, on %s beside, %+v", sa.Outbound, chosen, sa.Device, sa.Inline)
						}
					}
					exchange(t, here, there, 24)
				}
				if x.plan != "inline" || kind.InlineProtocol {
					return
				}
				check(t, here.nic.Inject(softnic.Fault{Undecrypted: 3}))
				frames := there.burst(4, 24)
				for i, frame := range here.pass(wan, there.pass(lan, frames...)...) {
					if len(frame) != len(frames[i]) {
						t.Errorf("packet %d of %d bytes has %d", i, len(frames[i]), len(frame))
					}
				}
			})
		}
	}
}
