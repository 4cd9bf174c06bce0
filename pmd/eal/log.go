package eal

/*
#include "log.h"
#include <rte_log.h>
*/
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
)

const (
	recordHeaderSize = C.sizeof_struct_sp_log_header
	// maxRecord is the largest record in bytes: the header and a stdio buffer full of text, with room to spare.
	maxRecord = 64 << 10
	// maxPartialLine bounds the text kept in the hope of an end of line, in bytes.
	maxPartialLine = 16 << 10
	// maxCaptured bounds the lines that Explain adds to an error; the last ones say the most.
	maxCaptured = 4
)

// logLevels gives DPDK's names of log levels, and how far one can turn them up, for Config.LogLevel.
var logLevels = []string{"error", "warning", "notice", "info", "debug"}

// logSink reads DPDK's log records and passes the lines to slog.
type logSink struct {
	log  *slog.Logger
	read *os.File
	done chan struct{}

	draining sync.Mutex    // one mark is on its way at a time
	marked   chan struct{} // the mark has been read

	mu       sync.Mutex
	captures []*capture

	// The rest belongs to the reading goroutine.
	partial []byte
	lost    uint32
}

// capture collects what DPDK complained about while one call ran.
type capture struct{ lines []string }

// sink is the process's only one, as DPDK's log stream is.
var sink struct {
	sync.Mutex
	*logSink
}

// openLog directs DPDK's log lines to log.
func openLog(log *slog.Logger) (*logSink, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for DPDK's log: %w", err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("socket for DPDK's log: %w", err)
	}
	s := &logSink{
		log:    log.With("source", "dpdk"),
		read:   os.NewFile(uintptr(fds[0]), "DPDK log"),
		done:   make(chan struct{}),
		marked: make(chan struct{}),
	}
	if code := C.sp_log_open(C.int(fds[1])); code != 0 {
		return nil, fmt.Errorf("DPDK's log stream: %w", syscall.Errno(-code))
	}
	go s.run()
	sink.Lock()
	sink.logSink = s
	sink.Unlock()
	return s, nil
}

// close waits until the lines so far are with slog and ends the stream.
func (s *logSink) close() {
	sink.Lock()
	sink.logSink = nil
	sink.Unlock()
	C.sp_log_close() // the reader sees the end of the stream after the last record
	<-s.done
}

func (s *logSink) run() {
	defer close(s.done)
	defer s.read.Close()
	record := make([]byte, maxRecord)
	for {
		n, err := s.read.Read(record)
		if err != nil || n < recordHeaderSize {
			s.flushPartial(slog.LevelInfo)
			return
		}
		s.take(record[:n])
	}
}

// take handles one record: a mark, or text that may hold several lines or part of one.
func (s *logSink) take(record []byte) {
	level, lost := binary.NativeEndian.Uint32(record), binary.NativeEndian.Uint32(record[4:])
	if lost != s.lost {
		s.log.Warn("DPDK logged faster than the lines could be read", "lost", lost-s.lost)
		s.lost = lost
	}
	if level == C.SP_LOG_MARK {
		s.marked <- struct{}{}
		return
	}
	text := record[recordHeaderSize:]
	for {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		s.partial = append(s.partial, line...)
		if !ended {
			break
		}
		s.flushPartial(slogLevel(level))
		text = rest
	}
	if len(s.partial) > maxPartialLine {
		s.flushPartial(slogLevel(level))
	}
}

func (s *logSink) flushPartial(level slog.Level) {
	line := strings.TrimSpace(string(s.partial))
	s.partial = s.partial[:0]
	if line == "" {
		return
	}
	shown := level
	if noFreePages(line) {
		shown = min(level, slog.LevelInfo)
	}
	s.log.Log(context.Background(), shown, line)
	if level < slog.LevelWarn {
		return
	}
	s.mu.Lock()
	for _, c := range s.captures {
		c.lines = append(c.lines, line)
	}
	s.mu.Unlock()
}

// noFreePages says whether DPDK warns of a size of huge pages none of which is free. It does so of each size, whatever is wanted; chooseHugePages has said what there is.
func noFreePages(line string) bool {
	return strings.HasPrefix(line, "EAL: No free ") && strings.Contains(line, " kB hugepages reported on node ")
}

// slogLevel maps an RTE_LOG_ level, where a smaller number is more severe.
func slogLevel(level uint32) slog.Level {
	switch {
	case level <= C.RTE_LOG_ERR:
		return slog.LevelError
	case level == C.RTE_LOG_WARNING:
		return slog.LevelWarn
	case level <= C.RTE_LOG_INFO:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// drain waits until every line logged before this call has been read.
func (s *logSink) drain() {
	s.draining.Lock()
	defer s.draining.Unlock()
	// Not under s.mu: the mark waits for room in the socket, and the reader takes s.mu to make it.
	if C.sp_log_mark() == 0 {
		<-s.marked
	}
}

// begin starts a capture. While there is one, what C code prints to stderr is captured and logged, too.
func (s *logSink) begin() *capture {
	c := &capture{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.captures) == 0 {
		C.sp_log_take_stderr()
	}
	s.captures = append(s.captures, c)
	return c
}

// end stops a capture and returns its last lines.
func (s *logSink) end(c *capture) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.captures = slices.DeleteFunc(s.captures, func(other *capture) bool { return other == c })
	if len(s.captures) == 0 {
		C.sp_log_give_stderr()
	}
	return c.lines[max(0, len(c.lines)-maxCaptured):]
}

// Explain runs f, a call into DPDK. DPDK gives a number as its error and the reason in its log: when f fails, the warnings and
// errors logged meanwhile become part of the error.
func Explain(f func() error) error {
	sink.Lock()
	s := sink.logSink
	sink.Unlock()
	if s == nil {
		return f()
	}
	c := s.begin()
	err := f()
	if err != nil {
		s.drain()
	}
	if lines := s.end(c); err != nil && len(lines) != 0 {
		return fmt.Errorf("%w (DPDK says: %s)", err, strings.Join(lines, " | "))
	}
	return err
}
