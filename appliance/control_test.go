package appliance

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pipeline"
)

func TestControlSocketIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		respond(w, api.Version{Gateway: "gw-a"}, nil)
	})
	c, err := listenControl(path, handler, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); c.serve() }()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("expected mode 0600, found %v, %v", info.Mode(), err)
	}
	var version api.Version
	if err := api.NewClient(path).Get(t.Context(), api.PathVersion, nil, &version); err != nil || version.Gateway != "gw-a" {
		t.Errorf("expected gw-a, found %q, %v", version.Gateway, err)
	}
	if _, err := listenControl(path, handler, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another gateway listens") {
		t.Errorf("expected a second gateway to be refused, found %v", err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	<-served
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// A socket that a killed gateway left behind must not keep its successor from
// starting; a file that is no socket must not be lost.
func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	c, err := listenControl(path, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.listener.Close()

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(file, http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("expected a path that is no socket to be refused")
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file now holds %q", text)
	}
}

func TestClientSaysWhatToDo(t *testing.T) {
	err := api.NewClient(filepath.Join(t.TempDir(), "none.sock")).Get(t.Context(), api.PathPorts, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "sallyport run -c FILE") {
		t.Errorf("expected advice to start a gateway, found %v", err)
	}
}

func TestBadOrders(t *testing.T) {
	g := &Gateway{negotiator: newPair(t).a}
	handler := g.controlHandler()
	for _, c := range []struct{ path, body, want string }{
		{api.PathUp, `{"peer":"nobody"}`, `expected one of b`},
		{api.PathUp, `{"peer":"b","child":"x"}`, `expected one of tunnel`},
		{api.PathRekey, `{"peer":"b","colour":"red"}`, `unknown field`},
		{api.PathDown, `not JSON`, `expected JSON`},
		{api.PathDown, ``, `expected JSON`},
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body)))
		if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), c.want) {
			t.Errorf("%s %s: expected 400 with %q, found %d %s", c.path, c.body, c.want, answer.Code, answer.Body)
		}
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, api.PathUp, nil))
	if answer.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET %s: expected 405, found %d", api.PathUp, answer.Code)
	}
	for _, limit := range []string{"0", "-1", "x", "99999999999"} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, api.PathFlows+"?limit="+limit, nil))
		if answer.Code != http.StatusBadRequest {
			t.Errorf("limit %s: expected 400, found %d", limit, answer.Code)
		}
	}
}

func TestIKEViewNamesPeersWithoutAnSA(t *testing.T) {
	p := newPair(t)
	infos, err := p.a.snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	views := ikeView(infos, nil)
	if len(views) != 1 || views[0].Peer != "b" || views[0].InitiatorSPI != "" {
		t.Errorf("expected peer b without an IKE SA, found %+v", views)
	}
}

// A port without a link and an unanswered request are why an IKE SA is missing.
func TestIKEViewNamesObstacles(t *testing.T) {
	local := netip.MustParseAddrPort("192.0.2.1:500")
	at := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	infos := []ike.SAInfo{{Peer: "b", Local: local, Outstanding: "IKE_SA_INIT", RetransmitsOut: 5, NextAttempt: at}}
	got := ikeView(infos, map[netip.Addr]string{local.Addr(): "wan"})[0]
	if got.DownPort != "wan" || got.Outstanding != "IKE_SA_INIT" || got.Resent != 5 || !got.NextAttempt.Equal(at) {
		t.Errorf("expected port wan, IKE_SA_INIT, 5 sent again and a next attempt, found %+v", got)
	}
	if got := ikeView(infos, nil)[0]; got.DownPort != "" {
		t.Errorf("expected no port without a link, found %q", got.DownPort)
	}
}

// A second gateway on the same control socket ends before it starts DPDK: it
// would take packets from the ports of the first.
func TestSecondGatewayTouchesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	first, err := listenControl(path, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	var said bytes.Buffer
	cfg := &config.Config{Control: config.Control{Socket: path}}
	err = Run(t.Context(), &Loaded{Config: cfg}, nil, slog.New(slog.NewTextHandler(&said, nil)))
	if err == nil || !strings.Contains(err.Error(), "another gateway listens") || said.Len() != 0 {
		t.Errorf("expected a refusal before anything starts, found %v and\n%s", err, said.String())
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the first gateway's socket: %v", err)
	}
}

func TestPermissionAdvice(t *testing.T) {
	denied := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}
	if got := permissionAdvice(denied); !strings.Contains(got, "as root") {
		t.Errorf("expected advice to run as root, found %q", got)
	}
	if got := permissionAdvice(syscall.EADDRINUSE); got != "" {
		t.Errorf("expected no advice about permissions, found %q", got)
	}
}

// A gateway that fails before it serves takes its socket away too.
func TestControlThatNeverServedIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	c, err := listenControl(path, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestSAViewJoinsCountersAndNegotiation(t *testing.T) {
	suite, err := crypto.ParseSuite("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	former, local, remote := netip.MustParseAddrPort("192.0.2.9:500"), netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	negotiated := []ike.SAInfo{{Peer: "b", Children: []ike.ChildInfo{{Name: "tunnel", SPIIn: 1, SPIOut: 2, Established: at}}}}
	counted := []pipeline.SACounters{
		{Tunnel: "tunnel", SPI: 1, Suite: suite, Packets: 10, Worker: 1, Local: former, Remote: former},
		{Tunnel: "tunnel", SPI: 2, Suite: suite, Outbound: true, Packets: 20, Worker: -1, Local: local, Remote: remote},
		{Tunnel: "tunnel", SPI: 9, Suite: suite}, // on its way out: IKE no longer knows it
	}
	views := sasView(counted, negotiated, nil, nil)
	if views[0].Worker == nil || *views[0].Worker != 1 || views[1].Worker != nil {
		t.Errorf("workers of two SAs %v and %v, expected 1 and all", views[0].Worker, views[1].Worker)
	}
	if len(views) != 3 {
		t.Fatalf("expected 3 SAs, found %d", len(views))
	}
	if in := views[0]; in.Local != "192.0.2.1" || in.Remote != "192.0.2.2" {
		t.Errorf("the inbound SA of a pair that has moved is between %s and %s, expected where the outbound one is", in.Local, in.Remote)
	}
	for i, want := range []api.SA{
		{Peer: "b", Direction: "inbound", SPI: "0x00000001", Packets: 10, Established: at},
		{Peer: "b", Direction: "outbound", SPI: "0x00000002", Packets: 20, Established: at},
		{Peer: "", Direction: "inbound", SPI: "0x00000009"},
	} {
		got := views[i]
		if got.Peer != want.Peer || got.Direction != want.Direction || got.SPI != want.SPI || got.Packets != want.Packets || !got.Established.Equal(want.Established) {
			t.Errorf("SA %d: expected %+v, found %+v", i, want, got)
		}
	}
	if text, err := json.Marshal(views); err != nil || strings.Contains(string(text), "key") {
		t.Errorf("expected JSON without keys, found %s, %v", text, err)
	}
}

// A reading in the middle of a burst looks unbalanced; at rest it is not.
func TestCountersSettle(t *testing.T) {
	readings := 0
	read := func() pipeline.Counters {
		readings++
		c := pipeline.Counters{Ports: []pipeline.PortCounters{{Name: "lan", Received: 5, Forwarded: 5}}}
		if readings < 3 {
			c.Ports[0].Received = 6
		}
		return c
	}
	c := settled(read, func(time.Duration) {})
	if view := countersView(c); !view.Conserved || readings != 3 {
		t.Errorf("expected a balanced third reading, found %+v after %d", view, readings)
	}
	lost := func() pipeline.Counters {
		return pipeline.Counters{Ports: []pipeline.PortCounters{{Name: "lan", Received: 1}}}
	}
	if view := countersView(settled(lost, func(time.Duration) {})); view.Conserved || !strings.Contains(view.Imbalance, "lan") {
		t.Errorf("expected a lost packet to be reported, found %+v", view)
	}
}
