package crypto

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/bigmod"
)

// weierstrass is a curve y^2 = x^3 + ax + b over the integers modulo a prime, with a prime
// number of points. It is for those that crypto/ecdh does not have: Brainpool (RFC 6932)
// and the two small ones of NIST (RFC 5114).
type weierstrass struct {
	field, order *bigmod.Modulus
	a, b, b3     *bigmod.Nat // b3 is 3b
	base         point
}

// point is in projective coordinates: (x/z, y/z), and (0, 1, 0) the neutral one.
type point struct{ x, y, z *bigmod.Nat }

// The curves: p, a, b, x and y of the base point, and its order.
var (
	ecp192 = newWeierstrass(
		"fffffffffffffffffffffffffffffffeffffffffffffffff",
		"fffffffffffffffffffffffffffffffefffffffffffffffc",
		"64210519e59c80e70fa7e9ab72243049feb8deecc146b9b1",
		"188da80eb03090f67cbf20eb43a18800f4ff0afd82ff1012",
		"07192b95ffc8da78631011ed6b24cdd573f977a11e794811",
		"ffffffffffffffffffffffff99def836146bc9b1b4d22831",
	)
	ecp224 = newWeierstrass(
		"ffffffffffffffffffffffffffffffff000000000000000000000001",
		"fffffffffffffffffffffffffffffffefffffffffffffffffffffffe",
		"b4050a850c04b3abf54132565044b0b7d7bfd8ba270b39432355ffb4",
		"b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21",
		"bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34",
		"ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d",
	)
	brainpool224 = newWeierstrass(
		"d7c134aa264366862a18302575d1d787b09f075797da89f57ec8c0ff",
		"68a5e62ca9ce6c1c299803a6c1530b514e182ad8b0042a59cad29f43",
		"2580f63ccfe44138870713b1a92369e33e2135d266dbb372386c400b",
		"0d9029ad2c7e5cf4340823b2a87dc68c9e4ce3174c1e6efdee12c07d",
		"58aa56f772c0726f24c6b89e4ecdac24354b9e99caa3f6d3761402cd",
		"d7c134aa264366862a18302575d0fb98d116bc4b6ddebca3a5a7939f",
	)
	brainpool256 = newWeierstrass(
		"a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5377",
		"7d5a0975fc2c3057eef67530417affe7fb8055c126dc5c6ce94a4b44f330b5d9",
		"26dc5c6ce94a4b44f330b5d9bbd77cbf958416295cf7e1ce6bccdc18ff8c07b6",
		"8bd2aeb9cb7e57cb2c4b482ffc81b7afb9de27e1e3bd23c23a4453bd9ace3262",
		"547ef835c3dac4fd97f8461a14611dc9c27745132ded8e545c1d54c72f046997",
		"a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7",
	)
	brainpool384 = newWeierstrass(
		"8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71874700133107ec53",
		"7bc382c63d8c150c3c72080ace05afa0c2bea28e4fb22787139165efba91f90f8aa5814a503ad4eb04a8c7dd22ce2826",
		"04a8c7dd22ce28268b39b55416f0447c2fb77de107dcd2a62e880ea53eeb62d57cb4390295dbc9943ab78696fa504c11",
		"1d1c64f068cf45ffa2a63a81b7c13f6b8847a3e77ef14fe3db7fcafe0cbd10e8e826e03436d646aaef87b2e247d4af1e",
		"8abe1d7520f9c2a45cb1eb8e95cfd55262b70b29feec5864e19c054ff99129280e4646217791811142820341263c5315",
		"8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b31f166e6cac0425a7cf3ab6af6b7fc3103b883202e9046565",
	)
	brainpool512 = newWeierstrass(
		"aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842aecda12ae6a380e62881ff2f2d82c68528aa6056583a48f3",
		"7830a3318b603b89e2327145ac234cc594cbdd8d3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94ca",
		"3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94cadc083e67984050b75ebae5dd2809bd638016f723",
		"81aee4bdd82ed9645a21322e9c4c6a9385ed9f70b5d916c1b43b62eef4d0098eff3b1f78e2d0d48d50d1687b93b97d5f7c6d5047406a5e688b352209bcb9f822",
		"7dde385d566332ecc0eabfa9cf7822fdf209f70024a57b1aa000c55b881f8111b2dcde494a5f485e5bca4bd88a2763aed1ca2b2fa8f0540678cd1e0f3ad80892",
		"aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330870553e5c414ca92619418661197fac10471db1d381085ddaddb58796829ca90069",
	)
)

func newWeierstrass(p, a, b, x, y, order string) func() *weierstrass {
	return sync.OnceValue(func() *weierstrass {
		c := &weierstrass{field: mustModulus(p), order: mustModulus(order)}
		c.a, c.b = c.number(a), c.number(b)
		c.b3 = c.add(c.b, c.add(c.b, c.b))
		c.base = point{c.number(x), c.number(y), c.small(1)}
		return c
	})
}

func mustModulus(digits string) *bigmod.Modulus {
	octets, err := hex.DecodeString(digits)
	if err == nil {
		var modulus *bigmod.Modulus
		if modulus, err = bigmod.NewModulus(octets); err == nil {
			return modulus
		}
	}
	panic("crypto: " + err.Error())
}

func (c *weierstrass) number(digits string) *bigmod.Nat {
	octets, err := hex.DecodeString(digits)
	if err == nil {
		var n *bigmod.Nat
		if n, err = bigmod.NewNat().SetBytes(octets, c.field); err == nil {
			return n
		}
	}
	panic("crypto: " + err.Error())
}

func (c *weierstrass) small(n uint) *bigmod.Nat { return bigmod.NewNat().SetUint(n).ExpandFor(c.field) }

func clone(n *bigmod.Nat, m *bigmod.Modulus) *bigmod.Nat {
	copied := bigmod.NewNat().ExpandFor(m)
	copy(copied.Bits(), n.Bits())
	return copied
}

func (c *weierstrass) add(x, y *bigmod.Nat) *bigmod.Nat { return clone(x, c.field).Add(y, c.field) }
func (c *weierstrass) sub(x, y *bigmod.Nat) *bigmod.Nat { return clone(x, c.field).Sub(y, c.field) }
func (c *weierstrass) mul(x, y *bigmod.Nat) *bigmod.Nat { return clone(x, c.field).Mul(y, c.field) }

// sum adds two points, equal or neutral ones too: with a prime number of points the formulas
// have no exceptions, so the time says nothing (Renes, Costello and Batina, "Complete
// addition formulas for prime order elliptic curves", section 3).
func (c *weierstrass) sum(p, q point) point {
	xx, yy, zz := c.mul(p.x, q.x), c.mul(p.y, q.y), c.mul(p.z, q.z)
	xy := c.sub(c.mul(c.add(p.x, p.y), c.add(q.x, q.y)), c.add(xx, yy)) // x1 y2 + x2 y1
	xz := c.sub(c.mul(c.add(p.x, p.z), c.add(q.x, q.z)), c.add(xx, zz))
	yz := c.sub(c.mul(c.add(p.y, p.z), c.add(q.y, q.z)), c.add(yy, zz))
	azz := c.mul(c.a, zz)
	t := c.add(c.mul(c.a, xz), c.mul(c.b3, zz))
	less, more := c.sub(yy, t), c.add(yy, t)
	slope := c.add(c.add(xx, c.add(xx, xx)), azz)
	rest := c.add(c.mul(c.b3, xz), c.mul(c.a, c.sub(xx, azz)))
	return point{
		c.sub(c.mul(xy, less), c.mul(yz, rest)),
		c.add(c.mul(more, less), c.mul(slope, rest)),
		c.add(c.mul(yz, more), c.mul(xy, slope)),
	}
}

// multiply walks Montgomery's ladder: each bit costs the same.
func (c *weierstrass) multiply(scalar []byte, p point) point {
	low := point{c.small(0), c.small(1), c.small(0)}
	high := point{clone(p.x, c.field), clone(p.y, c.field), clone(p.z, c.field)}
	for _, octet := range scalar {
		for i := 7; i >= 0; i-- {
			bit := uint(octet>>i) & 1
			swap(bit, low, high)
			low, high = c.sum(low, low), c.sum(low, high)
			swap(bit, low, high)
		}
	}
	return low
}

// swap exchanges the points' values where bit is 1.
func swap(bit uint, p, q point) {
	for _, pair := range [][2][]uint{{p.x.Bits(), q.x.Bits()}, {p.y.Bits(), q.y.Bits()}, {p.z.Bits(), q.z.Bits()}} {
		for i := range pair[0] {
			differ := (pair[0][i] ^ pair[1][i]) & -bit
			pair[0][i] ^= differ
			pair[1][i] ^= differ
		}
	}
}

// encode gives x | y as the KE payload has it (RFC 5903 section 7).
func (c *weierstrass) encode(p point) []byte {
	// 1/z is z^(p-2) in a field of p elements.
	exponent := bigmod.NewNat().ExpandFor(c.field).Sub(c.small(2), c.field).Bytes(c.field)
	inverse := bigmod.NewNat().Exp(p.z, exponent, c.field)
	return append(c.mul(p.x, inverse).Bytes(c.field), c.mul(p.y, inverse).Bytes(c.field)...)
}

// decode undoes encode. It checks coordinates and curve equation, which is all there is to
// check where each point but the neutral one, which has no coordinates, generates the whole
// group (RFC 6989 section 2.3).
func (c *weierstrass) decode(value []byte) (point, error) {
	if len(value) != 2*c.field.Size() {
		return point{}, fmt.Errorf("%d octets, expected %d", len(value), 2*c.field.Size())
	}
	x, errX := bigmod.NewNat().SetBytes(value[:c.field.Size()], c.field)
	y, errY := bigmod.NewNat().SetBytes(value[c.field.Size():], c.field)
	if err := errors.Join(errX, errY); err != nil {
		return point{}, errors.New("a coordinate is not below the prime")
	}
	right := c.add(c.mul(c.add(c.mul(x, x), c.a), x), c.b)
	if c.mul(y, y).Equal(right) != 1 {
		return point{}, errors.New("not a point of the curve")
	}
	return point{x, y, c.small(1)}, nil
}

type weierstrassExchange struct {
	curve  *weierstrass
	scalar Secret
	public []byte
}

func generateWeierstrass(curve func() *weierstrass) func(random io.Reader) (KeyExchange, error) {
	return func(random io.Reader) (KeyExchange, error) {
		c := curve()
		scalar := NewSecret(make([]byte, c.order.Size()))
		for range maxScalarDraws {
			if _, err := io.ReadFull(random, scalar.Bytes()); err != nil {
				return nil, err
			}
			if k, err := bigmod.NewNat().SetBytes(scalar.Bytes(), c.order); err == nil && k.IsZero() == 0 {
				return &weierstrassExchange{c, scalar, c.encode(c.multiply(scalar.Bytes(), c.base))}, nil
			}
		}
		return nil, errScalarDraws
	}
}

// Public returns x | y.
func (e *weierstrassExchange) Public() []byte { return e.public }

// Shared returns the x coordinate (RFC 6932 section 2.2, RFC 5903 section 7).
func (e *weierstrassExchange) Shared(responder []byte) (Secret, error) {
	p, err := e.curve.decode(responder)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrPeerValue, err)
	}
	if e.scalar.Len() == 0 {
		return Secret{}, errWiped
	}
	shared := e.curve.encode(e.curve.multiply(e.scalar.Bytes(), p))
	defer Wipe(shared)
	return NewSecret(append([]byte(nil), shared[:len(shared)/2]...)), nil
}

// Wipe clears the scalar.
func (e *weierstrassExchange) Wipe() { e.scalar.Wipe() }
