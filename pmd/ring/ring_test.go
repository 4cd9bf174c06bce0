package ring

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"unsafe"

	"sallyport/pmd/eal"
)

func TestMain(m *testing.M) {
	env, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: 64}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestBurst(t *testing.T) {
	carrier, err := Create("carrier", 8)
	if err != nil {
		t.Fatal(err)
	}
	defer carrier.Free()
	r, err := Create("burst", 8, OptSP(), OptSC(), OptSocket(SocketAny))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Free()
	// The ring does not look behind the pointers; those of DPDK memory at hand are the rings themselves.
	objects := []unsafe.Pointer{carrier.Pointer(), r.Pointer(), carrier.Pointer(), r.Pointer(), carrier.Pointer()}
	if n := r.EnqueueBurst(objects); n != 5 || r.Len() != 5 {
		t.Errorf("%d objects put, %d in the ring; want 5", n, r.Len())
	}
	if n := r.EnqueueBurst(objects); n != 2 || r.Len() != 7 {
		t.Errorf("%d more put, %d in the ring; want 2, and 7 in a ring of 8 slots", n, r.Len())
	}
	got := make([]unsafe.Pointer, 16)
	if n := r.DequeueBurst(got[:3]); n != 3 {
		t.Errorf("%d objects taken, want 3", n)
	}
	if n := r.DequeueBurst(got[3:]); n != 4 || r.Len() != 0 {
		t.Errorf("%d objects taken, %d left; want 4 and 0", n, r.Len())
	}
	for i, object := range append(objects, objects[:2]...) {
		if got[i] != object {
			t.Errorf("object %d came out of order", i)
		}
	}
	if r.EnqueueBurst(nil) != 0 || r.DequeueBurst(nil) != 0 {
		t.Error("a burst of none moved something")
	}
}

func TestCreateRefuses(t *testing.T) {
	r, err := Create("taken", 8)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Free()
	for _, c := range []struct {
		name  string
		count uint32
		says  string
	}{
		{"taken", 8, "file exists"},
		{"x", 0, "0 slots, expected a power of two"},
		{"x", 1, "1 slots"},
		{"x", 12, "12 slots"},
		{"", 8, "0 bytes, expected 1 to"},
		{strings.Repeat("x", 40), 8, "40 bytes, expected 1 to"},
		{"x", 1 << 30, "slots"},
		{"x", 1 << 28, "cannot allocate memory"},
	} {
		if r, err := Create(c.name, c.count); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q with %d slots: %v, %v; want %q", c.name, c.count, r, err, c.says)
		}
	}
}

func TestNameIsFreeAfterFree(t *testing.T) {
	for range 2 {
		r, err := Create("again", 8)
		if err != nil {
			t.Fatal(err)
		}
		r.Free()
		r.Free()
	}
}
