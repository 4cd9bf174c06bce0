package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport/crypto"
)

// Types of values that say how packets are put into others.
type (
	saMode        string
	saProtocol    string
	spi           uint32
	sequence      uint64
	dfPolicy      string
	dscpPolicy    int // -1 copies
	fragmentWhen  string
	mssClamp      int // bytes; 0 is off, -1 follows the path MTU
	tfcPad        int // bytes; 0 is off
	dummyInterval time.Duration
	perCore       int // Child SAs beside the first; 0 is off, -1 follows the workers
)

const (
	minSPI       = 256  // RFC 4303 section 2.1 reserves 0 to 255
	maxDSCP      = 63   // RFC 2474: six bits
	minMSS       = 88   // bytes: what 128-byte packets leave without options
	maxMSS       = 9688 // bytes: an IPv4 packet of maxMTU
	maxTFCPad    = maxMTU
	minDummy     = time.Millisecond
	maxDummy     = time.Hour
	maxHexKey    = 512 // digits of a key
	copyTheInner = -1
	asManyAsWork = -1

	modeTransport = "transport"
	followPath    = -1
)

func registerTunnelWords() {
	register(parsePerCore)
	registerWord[saMode]("tunnel", modeTransport)
	registerWord[saProtocol]("esp", "ah")
	registerWord[dfPolicy]("copy", "set", "clear")
	registerWord[fragmentWhen]("before", "after")
	register(parseSPI)
	register(parseSequence)
	register(parseDSCP)
	register(parseMSSClamp)
	register(parseTFCPad)
	register(parseDummyInterval)
	register(parseHexKey)
}

// parseNumber reads a number in decimal, or in hexadecimal after 0x. A leading zero has meant octal elsewhere.
func parseNumber(text string, bits int) (uint64, error) {
	if digits, isHex := strings.CutPrefix(text, "0x"); isHex {
		return strconv.ParseUint(digits, 16, bits)
	}
	if len(text) > 1 && text[0] == '0' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(text, 10, bits)
}

func parseSPI(text string) (spi, error) {
	n, err := parseNumber(text, 32)
	if err != nil || n < minSPI {
		return 0, fmt.Errorf("expected an SPI from 256 to 0xffffffff (RFC 4303 reserves those below 256), found %q", text)
	}
	return spi(n), nil
}

func parseSequence(text string) (sequence, error) {
	n, err := parseNumber(text, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("expected the first sequence number to send, 1 or more, found %q", text)
	}
	return sequence(n), nil
}

func parseDSCP(text string) (dscpPolicy, error) {
	if text == "copy" {
		return copyTheInner, nil
	}
	n, err := parseNumber(text, 8)
	if err != nil || n > maxDSCP {
		return 0, fmt.Errorf("expected copy or a code point from 0 to %d, found %q", maxDSCP, text)
	}
	return dscpPolicy(n), nil
}

func parseMSSClamp(text string) (mssClamp, error) {
	switch text {
	case "auto":
		return followPath, nil
	case "off":
		return 0, nil
	}
	n, err := parseNumber(text, 16)
	if err != nil || n < minMSS || n > maxMSS {
		return 0, fmt.Errorf("expected auto, off or %d to %d bytes, found %q", minMSS, maxMSS, text)
	}
	return mssClamp(n), nil
}

func parseTFCPad(text string) (tfcPad, error) {
	if text == "off" {
		return 0, nil
	}
	n, err := parseNumber(text, 16)
	if err != nil || n == 0 || n > maxTFCPad {
		return 0, fmt.Errorf("expected off or the length in bytes, 1 to %d, to which packets are padded, found %q", maxTFCPad, text)
	}
	return tfcPad(n), nil
}

func parseDummyInterval(text string) (dummyInterval, error) {
	if text == "off" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minDummy || d > maxDummy {
		return 0, fmt.Errorf("expected off or a time from %s to %s between dummy packets, found %q", minDummy, maxDummy, text)
	}
	return dummyInterval(d), nil
}

// parseHexKey reads a key in hexadecimal, with or without 0x. Its errors do not show what was found: it is the key.
func parseHexKey(text string) (crypto.Secret, error) {
	digits := strings.TrimPrefix(text, "0x")
	if len(digits) > maxHexKey {
		return crypto.Secret{}, fmt.Errorf("expected a key of at most %d hexadecimal digits, found more", maxHexKey)
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return crypto.Secret{}, errors.New("expected a key as an even number of hexadecimal digits, found something else, which is not shown because it may be the key")
	}
	return crypto.NewSecret(key), nil
}

// parsePerCore reads how many workers have Child SAs of their own.
func parsePerCore(text string) (perCore, error) {
	switch text {
	case "off":
		return 0, nil
	case "auto":
		return asManyAsWork, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 || n > maxWorkers {
		return 0, fmt.Errorf("expected off, auto or a number of workers from 2 to %d, found %q", maxWorkers, text)
	}
	return perCore(n), nil
}
