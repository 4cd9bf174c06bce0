package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"sallyport/crypto"
)

// Sizes are lengths of Ethernet frames, with header and check sequence, in octets, that packets have in turn while they are in clear.
type Sizes []int

const (
	minFrame  = 64 // of Ethernet
	etherLen  = 14
	around    = 18 // Ethernet header and check sequence
	ipv4Len   = 20
	ipv6Len   = 40
	udpLen    = 8
	markLen   = 18 // of the payload
	espLen    = 8  // SPI and sequence number
	trailer   = 2  // pad length and next header
	mixRounds = 8  // of a mix until its order comes again

	mostSizes = 1 << 16
)

// genome has the lengths of RFC 6985 section 3 but z, which is the MTU of the path.
var genome = map[rune]int{'a': 64, 'b': 128, 'c': 256, 'd': 512, 'e': 1024, 'f': 1280, 'g': 1518, 'h': 2112, 'i': 9000, 'j': 16000}

// IMIX is the simple one: of 12 frames 7 of 64 octets, 4 of 594 and 1 of 1518, in an order that is random and always the same.
func IMIX() Sizes { return mix([]part{{64, 7}, {594, 4}, {1518, 1}}) }

type part struct{ size, count int }

func mix(parts []part) Sizes {
	var sizes Sizes
	for _, p := range parts {
		for range p.count * mixRounds {
			sizes = append(sizes, p.size)
		}
	}
	rand.New(rand.NewPCG(7, 41)).Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
	return sizes
}

// ParseSizes reads a length ("512"), a mix of lengths with their shares ("64:7,594:4,1518:1"), "imix", or a genome as RFC 6985 writes a sequence of lengths
// ("genome:aafg", where a number before a letter repeats it, and z is the longest frame of the MTU).
func ParseSizes(text string, mtu int) (Sizes, error) {
	if text == "imix" {
		return IMIX(), nil
	}
	if letters, found := strings.CutPrefix(text, "genome:"); found {
		return parseGenome(letters, mtu)
	}
	var parts []part
	total := 0
	for _, field := range strings.Split(text, ",") {
		size, share, weighted := strings.Cut(field, ":")
		p := part{count: 1}
		var err error
		if p.size, err = strconv.Atoi(size); err == nil && weighted {
			p.count, err = strconv.Atoi(share)
		}
		if err != nil || p.count < 1 || p.size < 1 || p.count > mostSizes/mixRounds {
			return nil, fmt.Errorf("size %q: expected octets of a frame such as 512, a mix such as 64:7,594:4,1518:1, imix, or a genome such as genome:aafg", field)
		}
		parts, total = append(parts, p), total+p.count
	}
	if total > mostSizes/mixRounds {
		return nil, fmt.Errorf("sizes %q: shares of %d together, expected at most %d", text, total, mostSizes/mixRounds)
	}
	if len(parts) == 1 {
		return Sizes{parts[0].size}, nil
	}
	return mix(parts), nil
}

func parseGenome(letters string, mtu int) (Sizes, error) {
	var sizes Sizes
	count := 0
	for _, letter := range letters {
		if letter >= '0' && letter <= '9' {
			if count = count*10 + int(letter-'0'); count > mostSizes {
				break
			}
			continue
		}
		size, known := genome[letter]
		if letter == 'z' {
			size, known = mtu+around, true
		}
		if !known {
			return nil, fmt.Errorf("genome %q: %q stands for no length, expected letters a to j and z (RFC 6985 section 3)", letters, letter)
		}
		for range max(count, 1) {
			sizes = append(sizes, size)
		}
		if count = 0; len(sizes) > mostSizes {
			break
		}
	}
	if len(sizes) == 0 || len(sizes) > mostSizes || count != 0 {
		return nil, fmt.Errorf("genome %q: expected 1 to %d lengths, and a letter behind each number", letters, mostSizes)
	}
	return sizes, nil
}

// mean is the average length.
func (s Sizes) mean() float64 {
	sum := 0
	for _, size := range s {
		sum += size
	}
	return float64(sum) / float64(len(s))
}

// validateSizes compares the sizes with what a packet has to hold and a port can carry.
func (c *Config) validateSizes(s *Stream, t *Tunnel) error {
	least := max(minFrame, around+t.innerHeaders()+markLen)
	if size := slices.Min(s.Sizes); size < least {
		return fmt.Errorf("frames of %d octets, expected at least %d for %s", size, least, t.family())
	}
	size, most := slices.Max(s.Sizes), c.largest(t)
	if size > most {
		why := fmt.Sprintf("the protected port's MTU is %d", c.Protected.MTU)
		if most < c.Protected.MTU+around {
			why = fmt.Sprintf("the unprotected port's MTU is %d, and %s takes its share", c.Unprotected.MTU, t.Suite)
		}
		return fmt.Errorf("frames of %d octets, expected at most %d: %s", size, most, why)
	}
	return nil
}

// largest is the longest frame in clear that fits both ports.
func (c *Config) largest(t *Tunnel) int {
	inner := min(c.Protected.MTU, c.Unprotected.MTU)
	if !t.clear() {
		for inner > 0 && t.espLength(inner) > c.Unprotected.MTU {
			inner--
		}
		inner = min(inner, c.Protected.MTU)
	}
	return inner + around
}

// espLength is the length of the outer packet around an inner one.
func (t *Tunnel) espLength(inner int) int {
	block := t.Suite.BlockSize()
	return t.outerHeaders() + espOverhead(t.Suite) + (inner+trailer+block-1)/block*block
}

func espOverhead(s crypto.Suite) int { return espLen + s.IVLen() + s.ICVLen() }

func (t *Tunnel) innerHeaders() int {
	if t.Near.Addr().Is4() {
		return ipv4Len + udpLen
	}
	return ipv6Len + udpLen
}

func (t *Tunnel) outerHeaders() int {
	length := ipv6Len
	if t.Peer.Is4() {
		length = ipv4Len
	}
	if t.UDP {
		length += udpLen
	}
	return length
}

func (t *Tunnel) family() string {
	if t.Near.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}
