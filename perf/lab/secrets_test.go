package lab_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/perf/lab"
	"sallyport/policy"
)

// TestSecretsNeverPrint runs a gateway at its most talkative through negotiation, rekeys, failures and its end by a
// signal that has Go show every goroutine, and looks for the preshared key and the keys of every Child SA in all it said and
// wrote. The peer is an IKE engine of the test's own, so that the keys are known here.
//
// S-069
func TestSecretsNeverPrint(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			psk := rand.Text() + rand.Text()
			s := newSites(t, lab.RawGateway, lab.KernelGateway)
			peer := newTestPeer(t, s, psk)
			g, err := s.StartGateway(s.A, lab.GatewayOptions{Binary: binary(t), PSK: psk, LogLevel: "debug", LogFormat: format, Metrics: metricsAddress})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
				t.Fatal(err)
			}
			said := map[string]string{}
			said["shown with a tunnel"] = everythingShown(t, g)
			renew(t, g, g.RekeyChild)
			renew(t, g, g.RekeyIKE)
			renew(t, g, g.RekeyChild)
			said["shown after rekeys"] = everythingShown(t, g)
			peer.garble() // what comes from now on fails its check
			if err := g.RekeyChild(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = lab.Until(t.Context(), nil, "an answer to fail its check", changeLimit, func() (bool, error) {
				return strings.Contains(metrics(t, g), "ike_integrity"), g.Process.Alive()
			})
			if err != nil {
				t.Fatal(err)
			}
			said["shown after a failure"] = everythingShown(t, g)
			g.Process.Signal(syscall.SIGQUIT)
			<-g.Process.Done()
			if !strings.Contains(g.Process.Log(), "goroutine ") || !strings.Contains(g.Process.Log(), "child_rekeyed") {
				t.Errorf("want goroutines and the facts of the negotiation in the log:\n%s", g.Process.Log())
			}
			for path, content := range filesOf(t, s.Dir) {
				said[path] = content
			}
			keys := peer.keys()
			if len(keys) < 6 { // two directions of three Child SAs
				t.Fatalf("the peer knows %d keys, want 6 or more", len(keys))
			}
			for where, text := range said {
				for i, key := range append([][]byte{[]byte(psk)}, keys...) {
					if leak := secretIn(text, key); leak != "" {
						t.Errorf("%s, secret %d: %s", where, i, leak)
					}
				}
			}
		})
	}
}

// everythingShown is what an operator and Prometheus can see of a gateway, its errors included.
func everythingShown(t *testing.T, g *lab.Gateway) string {
	t.Helper()
	var all strings.Builder
	run := func(args ...string) {
		out, _ := exec.CommandContext(t.Context(), binary(t), append(args, "--socket", g.Socket())...).CombinedOutput()
		fmt.Fprintf(&all, "%v: %s\n", args, out)
	}
	for _, view := range []string{"ports", "sas", "ike", "filters", "flows", "counters", "drops", "certificates", "crl", "events"} {
		run("show", view)
		run("show", view, "--json")
	}
	run("show", "ike", "--why", lab.PeerName)
	run("show", "ike", "--why", lab.PeerName, "--json")
	run("rekey", "nobody")
	run("down", "nobody")
	run("up", lab.PeerName, "nothing")
	if text := all.String(); !strings.Contains(text, lab.PeerName) || !strings.Contains(text, "expected") {
		t.Errorf("want the peer and errors in what is shown:\n%s", text)
	}
	var version map[string]any
	if err := g.API.Get(t.Context(), api.PathVersion, nil, &version); err != nil {
		t.Error(err)
	}
	fmt.Fprintln(&all, version)
	all.WriteString(metrics(t, g))
	return all.String()
}

// renew rekeys and waits for the new Child SA, or when it keeps its keys for the new IKE SA.
func renew(t *testing.T, g *lab.Gateway, rekey func(ctx context.Context) error) {
	t.Helper()
	state := func() (string, error) {
		all, err := g.SAs(t.Context())
		if err != nil {
			return "", err
		}
		sa, err := g.IKE(t.Context())
		return lab.Outbound(all) + sa.InitiatorSPI + sa.ResponderSPI, err
	}
	before, err := state()
	if err != nil {
		t.Fatal(err)
	}
	if err := rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = lab.Until(t.Context(), nil, "new keys", changeLimit, func() (bool, error) {
		now, err := state()
		return err == nil && now != before, g.Process.Alive()
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, g.Diagnosis(t.Context()))
	}
}

// filesOf reads the lab's files but those that hold a key by their purpose: logs and configuration.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	contents := map[string]string{}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() || filepath.Ext(path) == ".psk" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		contents[filepath.Base(path)] = string(content)
	}
	if len(contents) < 2 {
		t.Errorf("files of the lab: %d, want log and configuration at least", len(contents))
	}
	return contents
}

// secretWindow is how many octets of a key in a row count as a leak.
const secretWindow = 8

// secretIn looks for any part of a key, in the ways in which octets get into a text, and says where there is one.
func secretIn(text string, key []byte) string {
	for i := 0; i+secretWindow <= len(key); i++ {
		part := key[i : i+secretWindow]
		decimal := strings.Trim(fmt.Sprint(part), "[]")
		base := base64.StdEncoding.EncodeToString(part[:6])
		for _, form := range []string{string(part), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part),
			strings.Trim(fmt.Sprintf("%q", part), `"`), decimal, strings.ReplaceAll(decimal, " ", ","), strings.ReplaceAll(decimal, " ", ", "),
			strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"),
			base, strings.NewReplacer("+", "-", "/", "_").Replace(base)} {
			if at := strings.Index(text, form); at >= 0 {
				return fmt.Sprintf("octets %d to %d show as %q: ...%s...", i, i+secretWindow, form, text[max(0, at-80):min(len(text), at+80)])
			}
		}
	}
	return ""
}

// TestSecretIn proves that the search finds what it is for.
func TestSecretIn(t *testing.T) {
	key := []byte("0123456789 key \xff\x00 of the test")
	for _, leak := range []string{string(key), fmt.Sprintf("%x", key), fmt.Sprintf("%X", key), fmt.Sprint(key), fmt.Sprintf("%#v", key), fmt.Sprintf("%q", key[:12]),
		base64.StdEncoding.EncodeToString(key), base64.URLEncoding.EncodeToString(key[1:]), string(key[3:12])} {
		if secretIn("some text "+leak+" and more", key) == "" {
			t.Errorf("not found in %q", leak)
		}
	}
	if leak := secretIn("time=2026-11-21 0123456 level=DEBUG msg=key", key); leak != "" {
		t.Errorf("found in a text without it: %s", leak)
	}
}

// testPeer is an IKE engine at site B, which keeps the keys of every Child SA.
type testPeer struct {
	conns  map[uint16]*net.UDPConn
	listen sync.WaitGroup

	mu      sync.Mutex
	engine  *ike.Engine
	timer   *time.Timer
	known   [][]byte
	garbled bool
}

// newTestPeer answers IKE on site B's WAN address until the lab is closed.
func newTestPeer(t *testing.T, s *lab.Sites, psk string) *testPeer {
	t.Helper()
	spi := uint32(0x10000)
	p := &testPeer{conns: map[uint16]*net.UDPConn{}}
	p.engine = ike.NewEngine(ike.Config{Random: rand.Reader,
		AllocateSPI: func(_, _ string) (uint32, error) { spi++; return spi, nil },
		Peers: []ike.Peer{{Name: "gw-a", Local: s.B.WANAddress, Remote: s.A.WANAddress, PSK: crypto.NewSecret([]byte(psk)),
			Children: []ike.Child{{Name: "child", Start: ike.StartOnDemand,
				Selectors: []policy.Selector{{Local: policy.RangeOf(s.B.LAN), Remote: policy.RangeOf(s.A.LAN),
					LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}}}}})
	p.timer = time.AfterFunc(time.Hour, func() { p.step(ike.Tick{}) })
	for _, port := range []uint16{500, 4500} {
		local := netip.AddrPortFrom(s.B.WANAddress, port)
		err := s.B.Gateway.Do(func() (err error) {
			p.conns[port], err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(local))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for port, conn := range p.conns {
		p.listen.Go(func() { p.receive(netip.AddrPortFrom(s.B.WANAddress, port), conn) })
	}
	s.Defer(func() error {
		p.timer.Stop()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.listen.Wait()
		return nil
	})
	return p
}

// receive hands datagrams to the engine until the socket is closed. What goes to port 4500 has the non-ESP
// marker or is no IKE (RFC 3948 section 2.2).
func (p *testPeer) receive(local netip.AddrPort, conn *net.UDPConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, remote, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		payload := slices.Clone(buffer[:n])
		if local.Port() == 4500 {
			payload = bytes.TrimPrefix(payload, make([]byte, 4))
		}
		p.step(ike.Datagram{Local: local, Remote: remote, Payload: payload})
	}
}

// step carries out what the engine wants. A peer without a data plane keeps the keys instead of installing them.
func (p *testPeer) step(event ike.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, effect := range p.engine.Step(time.Now(), event) {
		switch e := effect.(type) {
		case ike.Send:
			p.send(e)
		case ike.Arm:
			if !e.At.IsZero() {
				p.timer.Reset(time.Until(e.At))
			}
		case ike.InstallInbound:
			p.known = append(p.known, slices.Clone(e.SA.Keymat.Bytes()))
		case ike.InstallOutbound:
			p.known = append(p.known, slices.Clone(e.SA.Keymat.Bytes()))
		}
	}
}

func (p *testPeer) send(e ike.Send) {
	payload := slices.Clone(e.Payload)
	if p.garbled {
		payload[len(payload)-1] ^= 1
	}
	if e.NonESPMarker {
		payload = slices.Concat(make([]byte, 4), payload)
	}
	_, _ = p.conns[e.Local.Port()].WriteToUDPAddrPort(payload, e.Remote) // what is lost is sent again
}

// garble changes the last octet of all that the peer sends from now on.
func (p *testPeer) garble() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.garbled = true
}

// keys are those of all Child SAs up to now.
func (p *testPeer) keys() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.known)
}

// TestKeyFileErrors: what `check` and `run` say about a configuration that is wrong around its key does not have
// the key in it.
//
// S-069
func TestKeyFileErrors(t *testing.T) {
	const sample = "../../configs/site-a.yaml"
	good, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	const keyLine = "psk_file: site-b.psk"
	if !strings.Contains(string(good), keyLine) {
		t.Fatalf("%s has no %q", sample, keyLine)
	}
	random := rand.Text()
	for _, c := range []struct {
		name     string
		key      string // what the file holds
		mode     os.FileMode
		replace  string // in place of the line that names the file
		expected string
	}{
		{"weak", strings.Repeat("weak-secret", 3), 0o600, keyLine, "random characters"},
		{"short", random[:24], 0o600, keyLine, "25 or more"},
		{"weak and allowed", strings.Repeat("weak-secret", 3), 0o600, keyLine + "\n      allow_weak_psk: true", "warning"},
		{"readable by others", random, 0o644, keyLine, "mode 0644"},
		{"two lines", random + "\n" + random, 0o600, keyLine, "one line"},
		{"too long", strings.Repeat(random, 200), 0o600, keyLine, "4096"},
		{"in the configuration", random, 0o600, "psk: " + random, "psk_file"},
		{"in place of the file's name", random, 0o600, "psk_file: [" + random + "]", "psk_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "gw.yaml")
			for path, content := range map[string]string{file: strings.ReplaceAll(string(good), keyLine, c.replace), filepath.Join(dir, "site-b.psk"): c.key + "\n"} {
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(filepath.Join(dir, "site-b.psk"), c.mode); err != nil {
				t.Fatal(err)
			}
			commands := []string{"check"}
			if c.expected != "warning" { // that one would run
				commands = append(commands, "run")
			}
			for _, command := range commands {
				out, _ := exec.CommandContext(t.Context(), binary(t), command, "-c", file).CombinedOutput()
				if !strings.Contains(string(out), c.expected) {
					t.Errorf("%s says %s, want %q in it", command, out, c.expected)
				}
				if leak := secretIn(string(out), []byte(c.key)); leak != "" {
					t.Errorf("%s: %s", command, leak)
				}
			}
		})
	}
}
