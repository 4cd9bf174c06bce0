package mbuf

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"unsafe"

	"sallyport/pmd/eal"
	"sallyport/pmd/mempool"
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

// newPool makes a pool of n buffers that hold frames of room bytes.
func newPool(t *testing.T, n uint32, room uint16) *mempool.Mempool {
	t.Helper()
	pool, err := mempool.CreateMbufPool(t.Name(), n, mempool.Headroom+room)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if pool.InUse() != 0 {
			t.Errorf("%d buffers were not freed", pool.InUse())
		}
		pool.Free()
	})
	return pool
}

func TestFrames(t *testing.T) {
	pool := newPool(t, 7, 2048)
	want := [][]byte{{1}, {}, bytes.Repeat([]byte{2, 3}, 1024), []byte("a frame")}
	mbufs, err := FromFrames(pool, want)
	if err != nil {
		t.Fatal(err)
	}
	if pool.InUse() != 4 || pool.Available() != 3 {
		t.Errorf("%d buffers in use and %d free, want 4 and 3", pool.InUse(), pool.Available())
	}
	got := Frames(mbufs)
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("frame %d came back as %x", i, got[i])
		}
	}
	got[0] = append(got[0], 0xff) // a copy of its own: the neighbours stay
	if !bytes.Equal(got[2], want[2]) {
		t.Error("appending to one frame changed another")
	}
	FreeBulk(append(mbufs, nil))
}

func TestOneFrame(t *testing.T) {
	pool := newPool(t, 1, 64)
	m, err := FromBytes(pool, []byte("frame"))
	if err != nil {
		t.Fatal(err)
	}
	if got := Bytes(m); string(got) != "frame" {
		t.Errorf("%q", got)
	}
	Free(m)
}

func TestAllOrNone(t *testing.T) {
	pool := newPool(t, 3, 64)
	for _, c := range []struct {
		frames [][]byte
		says   string
	}{
		{[][]byte{{1}, make([]byte, 64), make([]byte, 65)}, "a frame of 65 bytes, expected at most 64"},
		{make([][]byte, 4), "4 buffers wanted, 3 free"},
	} {
		if _, err := FromFrames(pool, c.frames); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want %q", err, c.says)
		}
		if pool.InUse() != 0 {
			t.Errorf("%d buffers kept", pool.InUse())
		}
	}
}

func TestNothing(t *testing.T) {
	if mbufs, err := FromFrames(nil, nil); mbufs != nil || err != nil {
		t.Error(mbufs, err)
	}
	if frames := Frames([]unsafe.Pointer{}); frames != nil {
		t.Error(frames)
	}
	FreeBulk(nil)
}
