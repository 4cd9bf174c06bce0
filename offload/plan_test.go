package offload

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto/cryptodev"
)

func TestParseOrder(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "[]",
		"inline,lookaside,cpu": "[inline lookaside cpu]",
		"cpu":                  "[cpu]",
		"inline":               "expected cpu too, found inline:",
		"inline,lookaside":     "expected cpu too, found inline, lookaside:",
		"lookaside,inline,cpu": "[lookaside inline cpu]",
		"inline,cpu,inline":    "inline twice",
		"gpu":                  `found "gpu"`,
	} {
		order, err := ParseOrder(slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" }))
		found := fmt.Sprint(order)
		if err != nil {
			found = err.Error()
		}
		if !strings.Contains(found, want) {
			t.Errorf("%q: %s, expected %s", text, found, want)
		}
	}
}

// Without an order software devices come behind the CPU. Who names lookaside means them too.
func TestCryptoClasses(t *testing.T) {
	const cpu, hardware, software = cryptodev.ClassCPU, cryptodev.ClassHardware, cryptodev.ClassSoftware
	for _, c := range []struct {
		order []Class
		want  []cryptodev.Class
	}{
		{nil, []cryptodev.Class{hardware, cpu, software}},
		{[]Class{Inline, Lookaside, CPU}, []cryptodev.Class{hardware, software, cpu}},
		{[]Class{CPU, Inline}, []cryptodev.Class{cpu}},
		{[]Class{CPU, Lookaside}, []cryptodev.Class{cpu, hardware, software}},
	} {
		if found := CryptoClasses(c.order); !slices.Equal(found, c.want) {
			t.Errorf("%v: %v, expected %v", c.order, found, c.want)
		}
	}
}

// S-102: crypto devices that lack an algorithm: each SA goes by the first in the order that has it, and it is said why not before.
func TestExplainCryptoDevices(t *testing.T) {
	for _, c := range []struct {
		order   []Class
		devices []string
		suite   string
		want    string
		refused string
	}{
		{nil, nil, "aes128gcm16", "cpu on ipsec_mb", "inline_protocol on wan: net_ring does no IPsec"},
		{nil, []string{"crypto_openssl0"}, "aes128-sha256", "lookaside_crypto on crypto_openssl0", "inline_crypto on wan: net_ring does no IPsec"},
		{[]Class{Lookaside, CPU}, nil, "aes128gcm16", "lookaside_crypto on crypto_aesni_gcm0", ""},
		{[]Class{Lookaside, CPU}, nil, "aes128-sha256", "lookaside_crypto on crypto_aesni_mb0", "lookaside_crypto on crypto_aesni_gcm0: has no ENCR_AES_CBC"},
		{[]Class{CPU, Inline}, nil, "aes128-sha256", "cpu on ipsec_mb", ""},
	} {
		t.Run(c.suite, func(t *testing.T) {
			r := newRig(t, rigOptions{order: c.order, devices: c.devices})
			sa := inlineSA(t, c.suite, true)
			chosen := r.planner.Explain(r.counted(sa, nil, ""))
			if found := fmt.Sprintf("%s on %s", chosen.Plan, chosen.Device); found != c.want {
				t.Errorf("%v: %s, expected %s", c.order, found, c.want)
			}
			var refused []string
			for _, candidate := range chosen.Refused {
				refused = append(refused, fmt.Sprintf("%s on %s: %s", candidate.Plan, candidate.Device, candidate.Refusal))
			}
			if text := strings.Join(refused, "\n"); !strings.Contains(text, c.refused) || (text == "") != (c.refused == "") {
				t.Errorf("%v: refused %q, expected %q", c.order, text, c.refused)
			}
			if strings.Contains(strings.Join(refused, " "), "on lan") {
				t.Errorf("a port where no SA leads is among %q", refused)
			}
		})
	}
}
