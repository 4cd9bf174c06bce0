package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Shape of a capture ring (packet(7), TPACKET_V3): blocks that the kernel fills and hands over when
// they are full or have waited long enough.
const (
	ringBlockSize = 64 << 10 // octets
	ringBlocks    = 1024     // so many also because each retired one counts: the reader may be late by 20 s of sparse traffic
	ringFrameSize = 2048     // octets; a hint only in version 3
	ringRetireMS  = 20       // a part-filled block is handed over after this many milliseconds
)

// ring is a packet socket on one interface, with its memory-mapped blocks. It sees what the
// interface receives and not what it sends, so that a frame crossing a bridge is seen once.
type ring struct {
	fd     int
	memory []byte
	next   int // block to read
}

// openRing listens on link in the calling thread's namespace and keeps snap octets of each frame.
func openRing(link string, snap int) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: deaf until bound
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	r := &ring{fd: fd}
	if err := r.setUp(link, snap); err != nil {
		r.close()
		return nil, fmt.Errorf("capture on %s: %w", link, err)
	}
	return r, nil
}

// setUp configures, maps and binds the socket.
func (r *ring) setUp(link string, snap int) error {
	device, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("PACKET_VERSION: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("PACKET_IGNORE_OUTGOING: %w", err)
	}
	request := unix.TpacketReq3{Block_size: ringBlockSize, Block_nr: ringBlocks, Frame_size: ringFrameSize,
		Frame_nr: ringBlocks * ringBlockSize / ringFrameSize, Retire_blk_tov: ringRetireMS}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("PACKET_RX_RING: %w", err)
	}
	// One instruction, "return snap": the kernel copies no more of a frame than that.
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: uint32(snap)}}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		return fmt.Errorf("SO_ATTACH_FILTER: %w", err)
	}
	r.memory, err = unix.Mmap(r.fd, 0, ringBlocks*ringBlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping the ring: %w", err)
	}
	every := uint16(unix.ETH_P_ALL)
	address := unix.SockaddrLinklayer{Protocol: every<<8 | every>>8, Ifindex: device.Index}
	if err := unix.Bind(r.fd, &address); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// Offsets into a block's descriptor (struct tpacket_block_desc with tpacket_hdr_v1) and into a
// frame's header (struct tpacket3_hdr), in octets.
const (
	blockStatus  = 8
	blockPackets = 12
	blockFirst   = 16

	frameNext     = 0
	frameSeconds  = 4
	frameNanos    = 8
	frameCaptured = 12
	frameLength   = 16
	frameData     = 24
)

// poll waits up to wait for a block, calls see for each of its frames, gives the block back, and
// reports whether there was one. The octets passed to see are valid during the call only; length is
// that of the frame on the wire.
func (r *ring) poll(wait time.Duration, see func(at time.Time, frame []byte, length int)) (bool, error) {
	block := r.memory[r.next*ringBlockSize:][:ringBlockSize]
	if status(block).Load()&unix.TP_STATUS_USER == 0 {
		fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(wait.Milliseconds())); err != nil && err != unix.EINTR {
			return false, fmt.Errorf("poll: %w", err)
		}
		if status(block).Load()&unix.TP_STATUS_USER == 0 {
			return false, nil
		}
	}
	host := binary.NativeEndian
	offset := host.Uint32(block[blockFirst:])
	for range host.Uint32(block[blockPackets:]) {
		header := block[offset:]
		at := time.Unix(int64(host.Uint32(header[frameSeconds:])), int64(host.Uint32(header[frameNanos:])))
		data := header[host.Uint16(header[frameData:]):]
		see(at, data[:host.Uint32(header[frameCaptured:])], int(host.Uint32(header[frameLength:])))
		offset += host.Uint32(header[frameNext:])
	}
	status(block).Store(unix.TP_STATUS_KERNEL)
	r.next = (r.next + 1) % ringBlocks
	return true, nil
}

// status is the word by which kernel and reader hand a block to each other.
func status(block []byte) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&block[blockStatus]))
}

// lost returns how many frames the kernel could not put into the ring since the last call.
func (r *ring) lost() (int, error) {
	statistics, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("PACKET_STATISTICS: %w", err)
	}
	return int(statistics.Drops), nil
}

// close releases the socket and its memory.
func (r *ring) close() {
	if r.memory != nil {
		_ = unix.Munmap(r.memory)
	}
	_ = unix.Close(r.fd)
}
