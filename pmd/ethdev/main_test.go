package ethdev

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"sallyport/pmd/eal"
	"sallyport/pmd/mbuf"
	"sallyport/pmd/mempool"
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	env, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: 256, MainCore: 0}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if ports := Ports(); len(ports) != 0 {
		fmt.Fprintln(os.Stderr, "tests left ports open:", ports)
		code = 1
	}
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// patience is how long a test waits for something that happens at once on an idle machine.
const patience = time.Minute

var poolNumber atomic.Int32

// newPool makes a pool for an MTU and checks at the end that all its buffers came back.
func newPool(t *testing.T, mtu int) *mempool.Mempool {
	t.Helper()
	pool, err := mempool.CreateMbufPool(fmt.Sprintf("test%d", poolNumber.Add(1)), 2047, DataRoom(mtu))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := pool.InUse(); n != 0 {
			t.Errorf("%d buffers of the pool were not freed", n)
		}
		pool.Free()
	})
	return pool
}

// openPort opens a port and closes it at the end of the test.
func openPort(t *testing.T, cfg PortConfig) *Device {
	t.Helper()
	dev, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

// receive takes n frames that the filter lets through from queue 0 of the port.
func receive(t *testing.T, dev *Device, n int, wanted func(frame []byte) bool) [][]byte {
	t.Helper()
	var frames [][]byte
	var burst [32]unsafe.Pointer
	for deadline := time.Now().Add(patience); len(frames) < n; {
		if time.Now().After(deadline) {
			stats, err := dev.Port.Stats()
			t.Fatalf("%d of %d frames received in %v; %+v, %v", len(frames), n, patience, stats, err)
		}
		for queue := range dev.RxQueues {
			got := burst[:dev.Port.RxBurst(uint16(queue), burst[:])]
			for _, frame := range mbuf.Frames(got) {
				if wanted(frame) {
					frames = append(frames, frame)
				}
			}
			mbuf.FreeBulk(got)
		}
	}
	return frames
}

// send hands frames to Tx queue 0, all of which the driver must take.
func send(t *testing.T, dev *Device, pool *mempool.Mempool, frames ...[]byte) {
	t.Helper()
	mbufs, err := mbuf.FromFrames(pool, frames)
	if err != nil {
		t.Fatal(err)
	}
	if n := dev.Port.TxBurst(0, mbufs); n != len(mbufs) {
		mbuf.FreeBulk(mbufs[n:])
		t.Fatalf("%d of %d frames sent", n, len(mbufs))
	}
}

// etherTypeTest is IEEE's number for local experiments, so that the kernel's own frames are told from the test's.
const etherTypeTest = 0x88b5

// testFrame is a broadcast frame of a given length, its bytes numbered from the seed on.
func testFrame(length int, seed byte) []byte {
	frame := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, seed, etherTypeTest>>8, etherTypeTest&0xff)
	for len(frame) < length {
		frame = append(frame, seed+byte(len(frame)))
	}
	return frame
}

func isTestFrame(frame []byte) bool {
	return len(frame) >= 14 && frame[12] == etherTypeTest>>8 && frame[13] == etherTypeTest&0xff
}

func anyFrame([]byte) bool { return true }

func compare(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("frame %d: %d bytes, want %d:\n%x\n%x", i, len(got[i]), len(want[i]), head(got[i]), head(want[i]))
		}
	}
}

func head(frame []byte) []byte { return frame[:min(64, len(frame))] }
