package appliance

import (
	"bytes"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// A whole gateway by IKEv1: the log of messages and the stream of facts tell the version, the keys go where Wireshark looks for them, and each quick mode
// gives two SAs of opposite directions with SPIs of their own.
// S-063, S-110
func TestIKEv1OfAGateway(t *testing.T) {
	r := newRig(t, passive(older(siteA()))+"# keylog\n", older(siteB()))
	g := r.gateways[0]
	var state api.IKELog
	if err := g.api.Post(t.Context(), api.PathIKELog, api.SwitchIKELog{On: true}, &state); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, step := range []struct{ path, name string }{{api.PathUp, "far"}, {api.PathRekey, "nets"}} {
		if _, err := g.api.Act(t.Context(), step.path, api.Action{Name: step.name, Wait: 60}); err != nil {
			t.Fatal(err)
		}
		directions := map[string]int{}
		eventually(t, "two new SAs", func() bool { // after a rekey packets leave by the new one when the peer has its half
			for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
				if sa.Version == 1 && !seen[sa.SPI] {
					seen[sa.SPI] = true
					directions[sa.Direction]++
				}
			}
			return len(directions) == 2
		})
		if directions["inbound"] != 1 || directions["outbound"] != 1 {
			t.Errorf("%s %s has made %v", step.path, step.name, directions)
		}
	}
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text := read(state.File)
	for _, want := range []string{
		`(?m)^\S+Z sent 192\.0\.2\.1:500 > 192\.0\.2\.2:500 far: IKEv1 main mode of ISAKMP SA [0-9a-f]{16} 0{16}\n    SA: `,
		`(?m)^\S+Z received 192\.0\.2\.2:500 > 192\.0\.2\.1:500 far: IKEv1 quick mode [0-9a-f]{8} .*\n(    .*\n)*    NONCE: `,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("nothing in the IKE log matches %s:\n%s", want, text)
		}
	}
	keys := regexp.MustCompile(`(?m)^[0-9a-f]{16},([0-9a-f]{32})$`).FindAllStringSubmatch(read(g.loaded.KeyLog+ikev1Table), -1)
	if len(keys) != 1 || read(g.loaded.KeyLog) != "" || strings.Count(read(g.loaded.KeyLog+espTable), "AES-GCM") != 4 {
		t.Errorf("keys of %d ISAKMP SAs, expected one, and four SAs of ESP", len(keys))
	}
	for _, key := range keys {
		if strings.Contains(text, key[1][:16]) || strings.Contains(g.logs.String(), key[1][:16]) {
			t.Error("a log holds a key")
		}
	}
	if !strings.Contains(g.logs.String(), "msg=child_rekeyed version=1 peer=far") {
		t.Error("the log does not tell the version")
	}
}

// S-061: the first message of aggressive mode gets no answer, and is counted by its name, which the metrics have.
func TestAggressiveModeOfAPeer(t *testing.T) {
	r := newRig(t, passive(older(siteA())))
	g := r.gateways[0]
	const aggressive, noSA, octets = 4, 1, 60
	message := make([]byte, octets)
	copy(message, "a cookie")
	message[16], message[17], message[18], message[27] = noSA, 0x10, aggressive, octets
	r.send(g, rigWAN, "192.0.2.2:500", "192.0.2.1:500", string(message))
	registry := prometheus.NewRegistry()
	registry.MustRegister(g.facts)
	line := []byte(`sallyport_ike_facts_total{kind="dropped",peer="",reason="` + string(ike.DropAggressive) + `",version="1"} 1`)
	eventually(t, "the datagram to be counted", func() bool {
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return bytes.Contains(w.Body.Bytes(), line)
	})
	if got := r.received(g); len(got) > 0 {
		t.Errorf("an answer of %d octets", len(got[0]))
	}
	if w := get[api.Why](r, g, api.PathWhy, "peer", "far"); w.Dropped == nil || w.Dropped.Reason != string(ike.DropAggressive) {
		t.Errorf("--why has %+v", w.Dropped)
	}
}
