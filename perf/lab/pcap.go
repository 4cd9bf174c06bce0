package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// The pcap file format with nanosecond times: a file header of 24 octets, then a record header of 16
// octets before each frame. https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html
const (
	pcapMagic        = 0xa1b23c4d // nanoseconds
	pcapFileHeader   = 24
	pcapRecordHeader = 16
	linkEthernet     = 1
)

// pcapWriter writes frames to a file.
type pcapWriter struct {
	file   *os.File
	buffer *bufio.Writer
}

// createPcap makes a file for frames of which at most snap octets are kept.
func createPcap(path string, snap int) (*pcapWriter, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	w := &pcapWriter{file: f, buffer: bufio.NewWriterSize(f, 1<<16)}
	header := make([]byte, 0, pcapFileHeader)
	header = binary.LittleEndian.AppendUint32(header, pcapMagic)
	header = binary.LittleEndian.AppendUint16(header, 2) // version 2.4
	header = binary.LittleEndian.AppendUint16(header, 4)
	header = append(header, make([]byte, 8)...) // two reserved words
	header = binary.LittleEndian.AppendUint32(header, uint32(snap))
	header = binary.LittleEndian.AppendUint32(header, linkEthernet)
	if _, err := w.buffer.Write(header); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), f.Close())
	}
	return w, nil
}

// write adds a frame that had length octets on the wire.
func (w *pcapWriter) write(at time.Time, frame []byte, length int) error {
	var header [pcapRecordHeader]byte
	binary.LittleEndian.PutUint32(header[0:], uint32(at.Unix()))
	binary.LittleEndian.PutUint32(header[4:], uint32(at.Nanosecond()))
	binary.LittleEndian.PutUint32(header[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(header[12:], uint32(length))
	if _, err := w.buffer.Write(header[:]); err != nil {
		return fmt.Errorf("lab: %s: %w", w.file.Name(), err)
	}
	if _, err := w.buffer.Write(frame); err != nil {
		return fmt.Errorf("lab: %s: %w", w.file.Name(), err)
	}
	return nil
}

// close writes what is buffered and closes the file.
func (w *pcapWriter) close() error {
	return errors.Join(w.buffer.Flush(), w.file.Close())
}

// WritePcap makes a file of frames, for a device that reads them from there.
func WritePcap(path string, frames [][]byte) error {
	w, err := createPcap(path, wholeFrame)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		err = errors.Join(err, w.write(time.Time{}, frame, len(frame)))
	}
	return errors.Join(err, w.close())
}

// Frame is one frame of a file and when it was on the wire.
type Frame struct {
	At   time.Time
	Data []byte
}

// ReadPcap returns the frames of a file that a Capture wrote.
func ReadPcap(path string) ([][]byte, error) {
	frames, err := ReadFrames(path)
	if err != nil {
		return nil, err
	}
	data := make([][]byte, len(frames))
	for i := range frames {
		data[i] = frames[i].Data
	}
	return data, nil
}

// ReadFrames returns the same with their times. A capture writes what each site sends in order, but not one site after the
// other: for that the times have to be sorted.
func ReadFrames(path string) ([]Frame, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if len(b) < pcapFileHeader || binary.LittleEndian.Uint32(b) != pcapMagic {
		return nil, fmt.Errorf("lab: %s: expected a pcap file of this lab, found %d octets of something else", path, len(b))
	}
	var frames []Frame
	for rest := b[pcapFileHeader:]; len(rest) > 0; {
		if len(rest) < pcapRecordHeader {
			return nil, fmt.Errorf("lab: %s: %w in a record header", path, io.ErrUnexpectedEOF)
		}
		at := time.Unix(int64(binary.LittleEndian.Uint32(rest)), int64(binary.LittleEndian.Uint32(rest[4:])))
		size := binary.LittleEndian.Uint32(rest[8:])
		rest = rest[pcapRecordHeader:]
		if uint64(size) > uint64(len(rest)) {
			return nil, fmt.Errorf("lab: %s: %w in a frame of %d octets", path, io.ErrUnexpectedEOF, size)
		}
		frames = append(frames, Frame{at, rest[:size]})
		rest = rest[size:]
	}
	return frames, nil
}
