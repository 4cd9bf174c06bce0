package ethdev

import (
	"encoding/binary"
	"testing"
)

// Sizes of the headers of a capture file of the classic format, in bytes.
const (
	pcapFileHeader   = 24
	pcapRecordHeader = 16
)

// pcapFile is a capture file with the frames, all at time 0.
func pcapFile(frames [][]byte) []byte {
	const ethernet, longest = 1, 65535
	var file []byte
	for _, field := range []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, longest, ethernet} { // magic, version 2.4
		file = binary.LittleEndian.AppendUint32(file, field)
	}
	for _, frame := range frames {
		length := uint32(len(frame))
		for _, field := range []uint32{0, 0, length, length} {
			file = binary.LittleEndian.AppendUint32(file, field)
		}
		file = append(file, frame...)
	}
	return file
}

// pcapFrames takes the frames out of a capture file in the machine's byte order.
func pcapFrames(t *testing.T, file []byte) [][]byte {
	t.Helper()
	if len(file) < pcapFileHeader {
		t.Fatalf("a capture file of %d bytes", len(file))
	}
	var frames [][]byte
	for file = file[pcapFileHeader:]; len(file) >= pcapRecordHeader; {
		length := binary.NativeEndian.Uint32(file[8:])
		file = file[pcapRecordHeader:]
		if int(length) > len(file) {
			t.Fatalf("a record of %d bytes in %d", length, len(file))
		}
		frames, file = append(frames, file[:length]), file[length:]
	}
	return frames
}
