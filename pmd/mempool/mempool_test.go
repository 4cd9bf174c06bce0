package mempool

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

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

func TestPool(t *testing.T) {
	for range 2 { // the name is free again after Free
		pool, err := CreateMbufPool("pool", 1023, 2048+Headroom, OptCacheSize(32), OptPrivateDataSize(64), OptSocket(SocketAny))
		if err != nil {
			t.Fatal(err)
		}
		if pool.Pointer() == nil || pool.Name() != "pool" || pool.Size() != 1023 || pool.DataRoom() != 2176 {
			t.Errorf("%+v", pool)
		}
		if pool.InUse() != 0 || pool.Available() != 1023 {
			t.Errorf("%d in use, %d available of a new pool of 1023", pool.InUse(), pool.Available())
		}
		pool.Free()
		pool.Free()
	}
}

func TestCreateRefuses(t *testing.T) {
	pool, err := CreateMbufPool("taken", 1, 256)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Free()
	for _, c := range []struct {
		name string
		n    uint32
		room uint16
		opts []Option
		says string
	}{
		{"taken", 1, 256, nil, "a pool of this name exists already"},
		{"", 1, 256, nil, "the name has 0 bytes"},
		{strings.Repeat("x", 30), 1, 256, nil, "the name has 30 bytes, expected 1 to 25"},
		{"x", 0, 256, nil, "0 buffers"},
		{"x", 1, Headroom, nil, "data room of 128 bytes, expected more than the 128"},
		{"x", 1 << 20, 2176, nil, "raise dataplane.memory_mb"},
		{"x", 1023, 256, []Option{OptCacheSize(1000)}, "cache of 1000, expected at most 512"},
		{"x", 30, 256, []Option{OptCacheSize(21)}, "cache of 21"},
		{"x", 1, 256, []Option{OptPrivateDataSize(4)}, "private size of 4 bytes, expected a multiple of 8"},
	} {
		if _, err := CreateMbufPool(c.name, c.n, c.room, c.opts...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v; want %q", c.name, err, c.says)
		}
	}
}
