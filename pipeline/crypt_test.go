package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

const cryptSPI = 0x10203040

// cryptSizes are payload lengths: all small ones, where every padding occurs, and a sample up to a jumbo frame.
func cryptSizes() []int {
	var list []int
	for size := 1; size <= 70; size++ {
		list = append(list, size)
	}
	for size := 97; size <= 2000; size += 89 {
		list = append(list, size)
	}
	return append(list, 1400, 1500, 4096, 8191, 9000)
}

// cryptWay is one way to a session.
type cryptWay struct {
	name    string
	pool    *cryptodev.Pool
	suites  []crypto.Suite
	options []cryptodev.SessionOption
}

// cryptWays are all that this machine has: libIPSec_MB by calls and jobs, and each device with what it says it can do.
func cryptWays(t *testing.T) []cryptWay {
	t.Helper()
	ways := []cryptWay{{name: "library", pool: defaultCrypto, suites: append(crypto.Suites(), crypto.AHSuites()...)}}
	for _, pool := range []*cryptodev.Pool{cpuCrypto, fallbackCrypto} {
		for _, d := range pool.Describe() {
			if d.Driver != "libIPSec_MB" {
				ways = append(ways, cryptWay{d.Name, pool, d.Suites, []cryptodev.SessionOption{cryptodev.ViaDevice()}})
			}
		}
	}
	return ways
}

// TestEveryCipherMatchesTheReference compares each way to seal and open a packet with the reference, byte for byte in both
// directions, for each suite of ESP and AH: the same key, SPI, sequence number and IV (S-103).
func TestEveryCipherMatchesTheReference(t *testing.T) {
	r := newRig(t, rigOptions{mtu: 9200})
	for _, way := range cryptWays(t) {
		t.Run(way.name, func(t *testing.T) {
			for _, s := range way.suites {
				for _, esn := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/esn=%t", s, esn), func(t *testing.T) { compareCrypt(t, r.d, way, s, esn) })
				}
			}
		})
	}
}

// TestLibraryDoesEverySuite says which suites have no session of libIPSec_MB: CCM with keys of 192 bits, which a device
// does then.
func TestLibraryDoesEverySuite(t *testing.T) {
	for _, s := range append(crypto.Suites(), crypto.AHSuites()...) {
		made := cryptSession(t, cryptWay{pool: defaultCrypto}, s, crypto.NewSecret(make([]byte, s.KeymatLen())), true, false)
		ccm := slices.Contains([]crypto.EncrID{crypto.EncrAESCCM8, crypto.EncrAESCCM12, crypto.EncrAESCCM16}, s.Encr)
		if want := !ccm || s.KeyBits != 192; (made.Direct || made.Job) != want {
			t.Errorf("%s is on %s, expected libIPSec_MB %t", s, made.DeviceName(), want)
		}
	}
}

func cryptSession(t *testing.T, way cryptWay, s crypto.Suite, keymat crypto.Secret, encrypt, esn bool) *cryptodev.Session {
	t.Helper()
	made, err := way.pool.NewSession(s, keymat, encrypt, append(way.options, cryptodev.WithESN(esn))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := way.pool.Free(made); err != nil {
			t.Error(err)
		}
	})
	return made
}

// cryptCase is one packet: as it goes into sealing, as the reference has it, and as it looks opened.
type cryptCase struct {
	clear, sealed, opened cryptPacket
}

func compareCrypt(t *testing.T, d *Dataplane, way cryptWay, s crypto.Suite, esn bool) {
	random := rand.NewChaCha8([32]byte{1})
	octets := make([]byte, s.KeymatLen())
	_, _ = random.Read(octets)
	keymat := crypto.NewSecret(octets)
	salt := octets[s.KeyLen()+s.IntegKeyLen():]
	if !s.AH() {
		salt = octets[s.KeyLen():][:s.SaltLen()]
	}
	sealing, opening := cryptSession(t, way, s, keymat, true, esn), cryptSession(t, way, s, keymat, false, esn)
	var cases []cryptCase
	if s.AH() {
		cases = ahCases(t, s, keymat, esn, random)
	} else {
		cases = espCases(t, s, keymat, esn, random)
	}
	compareSessions(t, d, sealing, opening, salt, cases)
	if sealing.CPU {
		// the same sessions serve operations as well
		queuedSealing, queuedOpening := *sealing, *opening
		queuedSealing.CPU, queuedOpening.CPU = false, false
		compareSessions(t, d, &queuedSealing, &queuedOpening, salt, cases)
	}
}

func compareSessions(t *testing.T, d *Dataplane, sealing, opening *cryptodev.Session, salt []byte, cases []cryptCase) {
	t.Helper()
	var toSeal, toOpen []*cryptPacket
	for i := range cases {
		toSeal, toOpen = append(toSeal, cloneCrypt(&cases[i].clear)), append(toOpen, cloneCrypt(&cases[i].sealed))
	}
	for _, run := range []struct {
		session *cryptodev.Session
		packets []*cryptPacket
	}{{sealing, toSeal}, {opening, toOpen}} {
		if err := d.runCrypt(run.session, salt, testWorkers-1, run.packets); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range cases {
		sealed := c.sealed
		if sealing.Suite.AH() { // the stage leaves the header to its caller
			sealed.octets = c.clear.octets
		}
		if p := toSeal[i]; p.failed || !bytes.Equal(p.octets, sealed.octets) || !bytes.Equal(p.icv, sealed.icv) {
			t.Fatalf("packet %d sealed (failed %t):\n%x %x\nreference:\n%x %x", i, p.failed, p.octets, p.icv, sealed.octets, sealed.icv)
		}
		if p := toOpen[i]; p.failed || !bytes.Equal(p.octets, c.opened.octets) {
			t.Fatalf("packet %d opened (failed %t):\n%x\nexpected:\n%x", i, p.failed, p.octets, c.opened.octets)
		}
	}
	refuseForged(t, d, opening, salt, &cases[40].sealed)
}

func cloneCrypt(p *cryptPacket) *cryptPacket {
	return &cryptPacket{octets: bytes.Clone(p.octets), icv: bytes.Clone(p.icv), sequence: p.sequence}
}

// refuseForged flips a bit in each part of a good packet, and in the half of the sequence number that is not sent: every one
// must be reported, and none beside them.
func refuseForged(t *testing.T, d *Dataplane, opening *cryptodev.Session, salt []byte, packet *cryptPacket) {
	t.Helper()
	var forged []*cryptPacket
	s, last := opening.Suite, len(packet.octets)-1
	places := []int{0, 4, last}
	if !s.AH() {
		places = append(places, espHeaderLen, espHeaderLen+s.IVLen(), last-s.ICVLen(), last-s.ICVLen()+1)
	}
	for _, at := range places {
		p := cloneCrypt(packet)
		p.octets[at] ^= 0x10
		if at == 4 && !s.AH() {
			p.sequence ^= 0x10 << 24 // the number is what the packet says
		}
		forged = append(forged, p)
	}
	for at := range packet.icv {
		p := cloneCrypt(packet)
		p.icv[at] ^= 0x80
		forged = append(forged, p)
	}
	if opening.ESN {
		p := cloneCrypt(packet)
		p.sequence += 1 << 32
		forged = append(forged, p)
	}
	whole := cloneCrypt(packet)
	if err := d.runCrypt(opening, salt, 0, append(slices.Clone(forged[:2]), append([]*cryptPacket{whole}, forged[2:]...)...)); err != nil {
		t.Fatal(err)
	}
	for i, p := range forged {
		if !p.failed {
			t.Errorf("forgery %d of packet %x passed", i, packet.octets)
		}
	}
	if whole.failed {
		t.Error("the packet that was not forged was refused among forgeries")
	}
}

// firstCryptSequence lets the sizes cross into a new upper half with ESN.
func firstCryptSequence(esn bool) uint64 {
	if esn {
		return 1<<32 - 20
	}
	return 1
}

func espCases(t *testing.T, s crypto.Suite, keymat crypto.Secret, esn bool, random *rand.ChaCha8) []cryptCase {
	t.Helper()
	reference, err := crypto.NewESP(s, cryptSPI, keymat, crypto.WithESN(esn))
	if err != nil {
		t.Fatal(err)
	}
	var cases []cryptCase
	for i, size := range cryptSizes() {
		sequence := firstCryptSequence(esn) + uint64(i)
		payload := make([]byte, size)
		_, _ = random.Read(payload)
		sealed, err := reference.Seal(sequence, nil, payload, 4)
		if err != nil {
			t.Fatal(err)
		}
		plain := clearESP(s, sequence, payload)
		text, end := espHeaderLen+s.IVLen(), len(plain)-s.ICVLen()
		opened := bytes.Clone(sealed)
		copy(opened[text:end], plain[text:end])
		cases = append(cases, cryptCase{clear: cryptPacket{octets: plain, sequence: sequence}, sealed: cryptPacket{octets: sealed, sequence: sequence},
			opened: cryptPacket{octets: opened}})
	}
	return cases
}

// clearESP is a packet with its trailer as it goes into sealing: what stands where IV and ICV belong is of no account.
func clearESP(s crypto.Suite, sequence uint64, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, cryptSPI)
	b = binary.BigEndian.AppendUint32(b, uint32(sequence))
	b = append(b, bytes.Repeat([]byte{0xee}, s.IVLen())...)
	text := len(b)
	b = append(b, payload...)
	pad := byte(0)
	for (len(b)-text+2)%s.BlockSize() != 0 {
		pad++
		b = append(b, pad)
	}
	return append(append(b, pad, 4), bytes.Repeat([]byte{0xee}, s.ICVLen())...)
}

// ahCases are IPv4 packets whose mutable fields are zero already, but for TTL and checksum.
func ahCases(t *testing.T, s crypto.Suite, keymat crypto.Secret, esn bool, random *rand.ChaCha8) []cryptCase {
	t.Helper()
	reference, err := crypto.NewAH(s, cryptSPI, keymat, crypto.WithESN(esn))
	if err != nil {
		t.Fatal(err)
	}
	var cases []cryptCase
	for i, size := range cryptSizes() {
		sequence := firstCryptSequence(esn) + uint64(i)
		packet := make([]byte, ipv4HeaderLen+size)
		_, _ = random.Read(packet[12:]) // addresses and payload
		packet[0], packet[8], packet[9] = 0x45, 64, protocolUDP
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
		protected, err := reference.Protect(packet, sequence)
		if err != nil {
			t.Fatal(err)
		}
		const icvAt = ipv4HeaderLen + 12
		icv := bytes.Clone(protected[icvAt:][:s.IVLen()+s.ICVLen()])
		clear(protected[icvAt:][:len(icv)])
		protected[8] = 0
		clear(protected[10:12])
		cases = append(cases, cryptCase{clear: cryptPacket{octets: protected, icv: make([]byte, len(icv)), sequence: sequence},
			sealed: cryptPacket{octets: protected, icv: icv, sequence: sequence}, opened: cryptPacket{octets: protected}})
	}
	return cases
}

// TestManyQueuePairs opens more queue pairs than the drivers make by themselves and uses the last one.
func TestManyQueuePairs(t *testing.T) {
	const workers = 20
	pool, err := cryptodev.Open(cryptodev.Options{Devices: []string{"crypto_aesni_mb_many"}, QueuePairs: workers, Sessions: 2, Socket: cryptodev.SocketAny})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	r := newRig(t, rigOptions{mtu: 9200})
	s := crypto.Suite{Encr: crypto.EncrAESCBC, KeyBits: 256, Integ: crypto.IntegHMACSHA256}
	keymat := crypto.NewSecret(make([]byte, s.KeymatLen()))
	sealing := cryptSession(t, cryptWay{pool: pool, options: []cryptodev.SessionOption{cryptodev.ViaDevice()}}, s, keymat, true, false)
	c := espCases(t, s, keymat, false, rand.NewChaCha8([32]byte{8}))[9]
	p := cloneCrypt(&c.clear)
	if err := r.d.runCrypt(sealing, nil, workers-1, []*cryptPacket{p}); err != nil {
		t.Fatal(err)
	}
	if p.failed || !bytes.Equal(p.octets, c.sealed.octets) {
		t.Errorf("queue pair %d (failed %t):\n%x\nreference:\n%x", workers-1, p.failed, p.octets, c.sealed.octets)
	}
}

// TestUnfitPayloadsFail hands the jobs what the library would not survive: no payload, and no whole number of blocks. The
// packets beside them are sealed all the same.
func TestUnfitPayloadsFail(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := crypto.Suite{Encr: crypto.EncrAESCBC, KeyBits: 128, Integ: crypto.IntegHMACSHA256}
	keymat := crypto.NewSecret(make([]byte, s.KeymatLen()))
	sealing := cryptSession(t, cryptWay{pool: defaultCrypto}, s, keymat, true, false)
	good := espCases(t, s, keymat, false, rand.NewChaCha8([32]byte{}))[0]
	head := espHeaderLen + s.IVLen() + s.ICVLen()
	packets := []*cryptPacket{{octets: make([]byte, head)}, cloneCrypt(&good.clear), {octets: make([]byte, head+15)}, {octets: make([]byte, head+17)}}
	if err := r.d.runCrypt(sealing, nil, 0, packets); err != nil {
		t.Fatal(err)
	}
	if !packets[0].failed || !packets[2].failed || !packets[3].failed {
		t.Errorf("failed %t, %t and %t: expected all three", packets[0].failed, packets[2].failed, packets[3].failed)
	}
	if packets[1].failed || !bytes.Equal(packets[1].octets, good.sealed.octets) {
		t.Errorf("the packet among them (failed %t):\n%x\nreference:\n%x", packets[1].failed, packets[1].octets, good.sealed.octets)
	}
}
