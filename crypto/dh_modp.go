package crypto

import (
	"fmt"
	"io"
	"math/big"
	"sync"

	"filippo.io/bigmod"
)

// modpGroup is a group over the integers modulo a safe prime, with the generator 2: groups
// 1 and 2 of RFC 7296 appendix B, the others of RFC 3526. The prime is
// 2^bits - 2^(bits-64) - 1 + 2^64 * (floor(2^(bits-130) pi) + offset).
type modpGroup struct {
	id     DHID
	bits   int
	offset int64
	// exponent is the length of a private exponent in octets. RFC 3526 section 8 asks for
	// twice the strength of the group, 160 to 620 bits; a safe prime has no small subgroup
	// that a short exponent could leak into.
	exponent int
	modulus  func() *bigmod.Modulus
}

func newMODP(id DHID, bits int, offset int64, exponent int) *modpGroup {
	g := &modpGroup{id: id, bits: bits, offset: offset, exponent: exponent}
	g.modulus = sync.OnceValue(func() *bigmod.Modulus {
		modulus, err := bigmod.NewModulus(g.prime().Bytes())
		if err != nil {
			panic("crypto: " + err.Error())
		}
		return modulus
	})
	return g
}

// piBits is how many bits after the point piDigits has: those that the largest prime takes.
const piBits = 8192 - 130

// piDigits is floor(2^piBits * pi).
const piDigits = "" +
	"C90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B" +
	"302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5" +
	"AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD96" +
	"1C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E8603" +
	"9B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AAAC42D" +
	"AD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D7" +
	"1E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200CBBE117577A615D6C" +
	"770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D788719A10BDBA5B26" +
	"99C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D" +
	"99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA993B4EA988D8FDDC1" +
	"86FFB7DC90A6C08F4DF435C93402849236C3FAB4D27C7026C1D4DCB2602646DEC9751E763DBA37BDF8FF9406AD9E530E" +
	"E5DB382F413001AEB06A53ED9027D831179727B0865A8918DA3EDBEBCF9B14ED44CE6CBACED4BB1BDB7F1447E6CC254B" +
	"332051512BD7AF426FB8F401378CD2BF5983CA01C64B92ECF032EA15D1721D03F482D7CE6E74FEF6D55E702F46980C82" +
	"B5A84031900B1C9E59E7C97FBEC7E8F323A97A7E36CC88BE0F1D45B7FF585AC54BD407B22B4154AACC8F6D7EBF48E1D8" +
	"14CC5ED20F8037E0A79715EEF29BE32806A1D58BB7C5DA76F550AA3D8A1FBFF0EB19CCB1A313D55CDA56C9EC2EF29632" +
	"387FE8D76E3C0468043E8F663F4860EE12BF2D5B0B7474D6E694F91E6DBE115974A3926F12FEE5E438777CB6A932DF8C" +
	"D8BEC4D073B931BA3BC832B68D9DD300741FA7BF8AFC47ED2576F6936BA424663AAB639C5AE4F5683423B4742BF1C978" +
	"238F16CBE39D652DE3FDB8BEFC848AD922222E04A4037C0713EB57A81A23F0C73473FC646CEA306B4BCBC8862F8385DD" +
	"FA9D4B7FA2C087E879683303ED5BDD3A062B3CF5B3A278A66D2A13F83F44F82DDF310EE074AB6A364597E899A0255DC1" +
	"64F31CC50846851DF9AB48195DED7EA1B1D510BD7EE74D73FAF36BC31ECFA268359046F4EB879F924009438B481C6CD7" +
	"889A002ED5EE382BC9190DA6FC026E479558E4475677E9AA9E3050E2765694DFC81F56E880B96E7160C980DD98A573EA"

func (g *modpGroup) prime() *big.Int {
	pi, ok := new(big.Int).SetString(piDigits, 16)
	if !ok {
		panic("crypto: piDigits is no number")
	}
	power := func(n int) *big.Int { return new(big.Int).Lsh(big.NewInt(1), uint(n)) }
	middle := pi.Rsh(pi, uint(piBits-(g.bits-130)))
	middle.Add(middle, big.NewInt(g.offset))
	p := power(g.bits)
	p.Sub(p, power(g.bits-64)).Sub(p, power(0))
	return p.Add(p, middle.Lsh(middle, 64))
}

// modpExchange is Diffie-Hellman with constant-time exponentiation, which math/big does not
// have.
type modpExchange struct {
	group    *modpGroup
	exponent Secret
	public   []byte
}

func (g *modpGroup) generate(random io.Reader) (KeyExchange, error) {
	exponent := make([]byte, g.exponent)
	if _, err := io.ReadFull(random, exponent); err != nil {
		return nil, err
	}
	// The top bit keeps a broken source from giving the exponents 0 and 1.
	exponent[0] |= 0x80
	generator := bigmod.NewNat().SetUint(2).ExpandFor(g.modulus())
	public := bigmod.NewNat().Exp(generator, exponent, g.modulus())
	return &modpExchange{g, NewSecret(exponent), public.Bytes(g.modulus())}, nil
}

// Public returns the value padded to the length of the prime (RFC 7296 section 3.4).
func (m *modpExchange) Public() []byte { return m.public }

// Shared returns g^ir padded to the length of the prime (RFC 7296 section 2.14).
func (m *modpExchange) Shared(responder []byte) (Secret, error) {
	modulus := m.group.modulus()
	if len(responder) != modulus.Size() {
		return Secret{}, fmt.Errorf("%w: %d octets, expected %d for %s", ErrPeerValue, len(responder), modulus.Size(), m.group.id)
	}
	// RFC 6989 section 2.1: with a safe prime 1 < r < p-1 is the whole test. The
	// value is public, so the comparisons may take their time.
	peer, err := bigmod.NewNat().SetBytes(responder, modulus)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: not below the prime of %s", ErrPeerValue, m.group.id)
	}
	if peer.IsZero()|peer.IsOne()|peer.IsMinusOne(modulus) == 1 {
		return Secret{}, fmt.Errorf("%w: 0, 1 and p-1 are no values of %s", ErrPeerValue, m.group.id)
	}
	if m.exponent.Len() == 0 {
		return Secret{}, errWiped
	}
	shared := bigmod.NewNat().Exp(peer, m.exponent.Bytes(), modulus)
	return NewSecret(shared.Bytes(modulus)), nil
}

// Wipe clears the exponent.
func (m *modpExchange) Wipe() { m.exponent.Wipe() }
