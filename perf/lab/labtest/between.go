package labtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// Limit is how long a lab may take for what takes moments on a machine with nothing else to do.
const Limit = 5 * time.Minute

// Between is a lab with a gateway's namespace and that of a tester on both sides of it:
//
//	tester eth1 ── lan0 gateway wan0 ── eth2 tester
type Between struct {
	*lab.Lab
	Gateway, Tester *lab.Namespace
	Program         string
}

// NewBetween makes it, and takes it down with the test.
func NewBetween(t testing.TB) *Between {
	t.Helper()
	b := &Between{Program: Program(t)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	b.Lab, err = lab.New()
	must(err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	b.Gateway, err = b.Namespace("gateway")
	must(err)
	b.Tester, err = b.Namespace("tester")
	must(err)
	for _, ends := range [][2]string{{"lan0", "eth1"}, {"wan0", "eth2"}} {
		must(lab.Wire(t.Context(), b.Gateway, ends[0], b.Tester, ends[1], 1500))
		must(b.Gateway.Mute(ends[0]))
		must(b.Tester.Mute(ends[1]))
	}
	return b
}

// Configure writes the gateway's configuration, gw.yaml, into the lab's folder, and says where the gateway keeps what is its own: there, too.
func (b *Between) Configure(t testing.TB, text string) {
	t.Helper()
	text += "control: {socket: " + b.socket() + "}\nstate_dir: " + filepath.Join(b.Dir, "state") + "\n"
	if err := os.WriteFile(filepath.Join(b.Dir, "gw.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *Between) socket() string { return filepath.Join(b.Dir, "gw.sock") }

// Start starts the gateway and waits until it answers.
func (b *Between) Start(t testing.TB) *lab.Process {
	t.Helper()
	return b.StartIn(t, b.Gateway)
}

// StartIn starts it in one of the namespaces: its sockets for memif are that namespace's.
func (b *Between) StartIn(t testing.TB, where *lab.Namespace) *lab.Process {
	t.Helper()
	process, err := where.Start(lab.Command{Name: "gateway", Args: []string{b.Program, "run", "-c", "gw.yaml", "--lab"}})
	if err != nil {
		t.Fatal(err)
	}
	client := api.NewClient(b.socket())
	err = lab.Until(t.Context(), nil, "the gateway to answer", Limit, func() (bool, error) {
		return client.Get(t.Context(), api.PathVersion, nil, nil) == nil, process.Alive()
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, process.Tail())
	}
	return process
}
