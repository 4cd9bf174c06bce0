package lab_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
	"sallyport/policy"
)

// policyRig is two gateways whose policy changes while traffic runs. Each LAN has a second network behind it, of
// partners, that the other may speak to in clear as far as the policy of the moment lets it.
//
//	10.1.0.0/24, 172.16.1.0/24 --- gw-a ===== gw-b --- 10.2.0.0/24, 172.16.2.0/24
type policyRig struct {
	*hostileRig
	farMAC net.HardwareAddr // of gw-b on its LAN
}

// The policy of a lab gateway, from the site whose number is NEAR to the one whose number is FAR. What day, night and
// guarded protect is the same; half protects less, dual
// IPv6 too, and idle nothing.
const storedPolicies = `routes:
  - {to: 172.16.FAR.0/24, via: 192.0.2.FAR}
  - {to: 172.16.NEAR.0/24, via: 10.NEAR.0.10}
filter_lists:
  - {name: both-lans, updated: 2026-11-21, filters: [{source: 10.NEAR.0.0/24, destination: 10.FAR.0.0/24}]}
  - {name: half-lans, updated: 2026-11-21, filters: [{source: 10.NEAR.0.0/25, destination: 10.FAR.0.0/25}]}
  - {name: partners, updated: 2026-11-21, filters: [{source: 172.16.NEAR.0/24, destination: 172.16.FAR.0/24}]}
  - {name: strangers, updated: 2026-11-21, filters: [{source: 172.16.NEAR.0/24, destination: 172.16.FAR.128/25}]}
  - {name: lans6, updated: 2026-11-21, filters: [{source: "2001:db8:NEAR::/64", destination: "2001:db8:FAR::/64"}]}
  - {name: echo, updated: 2026-11-21, filters: [{source: 10.NEAR.0.0/24, destination: 10.FAR.0.0/24, protocol: udp, destination_port: 7}]}
filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [aes128gcm16]}
  - {name: pass, action: permit}
  - {name: refuse, action: block}
policies:
  - name: day
    rules:
      - {name: lan-to-lan, filter_list: both-lans, filter_action: protect, peer: far-site}
      - {name: partners-pass, filter_list: partners, filter_action: pass}
      - {name: no-strangers, filter_list: strangers, filter_action: refuse}
      - {name: no-echo, filter_list: echo, filter_action: refuse}
  - name: night
    rules:
      - {name: lan-to-lan, filter_list: both-lans, filter_action: protect, peer: far-site}
      - {name: no-partners, filter_list: partners, filter_action: refuse}
  - name: half
    rules:
      - {name: lan-to-lan, filter_list: half-lans, filter_action: protect, peer: far-site}
      - {name: partners-pass, filter_list: partners, filter_action: pass}
  - name: dual
    rules:
      - {name: lan-to-lan, filter_list: both-lans, filter_action: protect, peer: far-site}
      - {name: lan6-to-lan6, filter_list: lans6, filter_action: protect, peer: far-site}
  - name: idle
    rules:
      - {name: partners-pass, filter_list: partners, filter_action: pass}
active_policy: day
`

func policyOf(near, far string) string {
	return strings.NewReplacer("NEAR", near, "FAR", far).Replace(storedPolicies)
}

func newPolicyRig(t *testing.T) *policyRig {
	t.Helper()
	r := &policyRig{hostileRig: newRigWith(t, policyOf("1", "2"), policyOf("2", "1"))}
	r.farMAC = portMAC(t, r.b, lanPort)
	for _, raw := range []*lab.RawPort{r.lan, r.farLAN, r.wan, r.farWAN} {
		raw.ReadAhead()
	}
	return r
}

// sallyport runs the program against gw-a, as its operator would.
func (r *policyRig) sallyport(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	return sallyport(t, r.a, args...)
}

// must is sallyport with success wanted; it returns what was printed.
func (r *policyRig) must(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, code := r.sallyport(t, args...)
	if code != 0 {
		t.Fatalf("sallyport %v: exit code %d: %s", args, code, errOut)
	}
	return out
}

// ask runs a command that shows something and reads its JSON.
func ask[T any](t *testing.T, r *policyRig, args ...string) (answer T) {
	t.Helper()
	out := r.must(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("sallyport %v: %v in %s", args, err, out)
	}
	return answer
}

// table is the compiled table as `filters show` has it, without hits and without lines of the file.
func (r *policyRig) table(t *testing.T) (rows []policy.Row) {
	t.Helper()
	for _, f := range ask[[]api.Filter](t, r, "filters", "show", "--all") {
		rows = append(rows, f.Row)
	}
	return rows
}

// running is the policy in force and how many there were.
func (r *policyRig) running(t *testing.T) api.Policies {
	t.Helper()
	var now api.Policies
	if err := r.a.API.Get(t.Context(), api.PathPolicy, nil, &now); err != nil {
		t.Fatal(err)
	}
	return now
}

// text is gw-a's configuration file.
func (r *policyRig) text(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(r.a.Configuration())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write puts a text into a file of the lab.
func (r *policyRig) write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// apply makes a text the configuration, through the program.
func (r *policyRig) apply(t *testing.T, text string) string {
	t.Helper()
	return r.must(t, "config", "apply", r.write(t, r.Dir+"/wanted.yaml", text))
}

// hangUp sends SIGHUP and waits until the gateway has acted on it: outcome is what its log then says once more.
func (r *policyRig) hangUp(t *testing.T, outcome string) {
	t.Helper()
	count := func() int { return strings.Count(r.a.Process.Log(), outcome) }
	before := count()
	r.a.Process.Signal(syscall.SIGHUP)
	err := lab.Until(t.Context(), nil, "SIGHUP to be acted on: "+outcome, changeLimit, func() (bool, error) {
		return count() > before, r.a.Process.Alive()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What the log of the gateway says of a reload.
const (
	saysChanged = `msg="policy changed"`
	saysRefused = `msg="policy change refused, nothing has changed"`
)

// sameSAs wants both gateways to have the SAs that they had at the start of the test.
func (r *policyRig) sameSAs(t *testing.T) {
	t.Helper()
	for i, g := range []*lab.Gateway{r.a, r.b} {
		if got := spis(t, g); !reflect.DeepEqual(got, r.sas[i]) {
			t.Errorf("gw-%s has SAs %v, want %v as before", g.Site.Name, got, r.sas[i])
		}
		if got := ikeSPIs(t, g); got != r.ikes[i] {
			t.Errorf("gw-%s has IKE SA %s, want %s as before", g.Site.Name, got, r.ikes[i])
		}
	}
}

// pin takes the SAs that there are for those that sameSAs compares with.
func (r *policyRig) pin(t *testing.T) {
	t.Helper()
	for i, g := range []*lab.Gateway{r.a, r.b} {
		r.sas[i], r.ikes[i] = spis(t, g), ikeSPIs(t, g)
	}
}

// tunnelBack waits for a tunnel that carries packets both ways. What either gateway has begun meanwhile may make a
// second one. Pings are sent again: what a flood has filled, the queues for a tunnel and for a next hop's address and the rings of a gateway that waits
// for a core, may have no room for the first of them.
func (r *policyRig) tunnelBack(t *testing.T) {
	t.Helper()
	for _, g := range []*lab.Gateway{r.a, r.b} {
		if _, err := g.WaitTunnel(t.Context(), nil, tunnelBackLimit); err != nil {
			t.Fatal(err)
		}
	}
	answered := 0
	err := lab.Until(t.Context(), nil, "pings to be answered again", tunnelBackLimit, func() (bool, error) {
		answered = r.pingFor(t, pingAgain)
		return answered == soundPings, nil
	})
	if err != nil {
		t.Fatalf("%v: the last time %d of %d", err, answered, soundPings)
	}
}

// pingAgain is how long tunnelBack waits for the answers to some pings before it sends others.
const pingAgain = 5 * time.Second

// tunnelBackLimit leaves room for a negotiation that began while the other gateway was gone, and sends again ever
// more slowly.
const tunnelBackLimit = 5 * time.Minute

func parseMAC(t *testing.T, text string) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// run is one part of a test; what follows one that failed would build on it and is left out.
func (r *policyRig) run(t *testing.T, name string, part func(t *testing.T, r *policyRig)) {
	if t.Failed() {
		return
	}
	t.Run(name, func(t *testing.T) {
		part(t, r)
		r.nothingMarked(t)
		r.conserved(t, r.a)
		r.conserved(t, r.b)
	})
}

// nothingMarked looks at what gw-a and gw-b have sent into the WAN since the last look: nothing that a test marked.
func (r *policyRig) nothingMarked(t *testing.T) {
	t.Helper()
	for _, raw := range []*lab.RawPort{r.wan, r.farWAN} {
		for _, f := range r.received(t, raw) {
			if bytes.Contains(f, []byte(attackMarker)) {
				t.Fatalf("seen on the WAN: % x", f)
			}
		}
	}
	a, b := r.capture.Sofar()
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.Clear != 0 || sent.Marked != 0 || sent.Lost != 0 {
			t.Fatalf("site %s sent %v, want nothing clear or marked, and every frame seen", name, sent)
		}
	}
}
