package crypto

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
)

// Published exchanges: RFC 5903 sections 8.1 and 8.2, RFC 7748 section 6.1, and the first of
// NIST's CAVS file for P-192. There is none for group 14; its numbers are from Python's pow() with the exponents given.
var dhVectors = []struct {
	id                        DHID
	privateI, privateR        string
	publicI, publicR, sharedS string
}{
	{
		DHECP256,
		"C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
		"C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
		"DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180 5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
		"D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63 56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
		"D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
	},
	{
		DHECP384,
		"099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
		"41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
		`667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA
		 9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C`,
		`E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571
		 DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C`,
		"11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
	},
	{
		DHCurve25519,
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
		"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
	},
	{
		DHECP192,
		"f17d3fea367b74d340851ca4270dcb24c271f445bed9d527",
		"",
		"b15053401f57285637ec324c1cd2139e3a67de3739234b37 f269c158637482aad644cd692dd1d3ef2c8a7c49e389f7f6",
		"42ea6dd9969dd2a61fea1aac7f8e98edcc896c6e55857cc0 dfbe5d7c61fac88b11811bde328e8a0d12bf01a9d204b523",
		"803d8ab2e5b6e6fca715737c3a82f7ce3c783124f6d51cd0",
	},
	{
		DHMODP2048,
		"800102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
		"fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0dfdedddcdbdad9d8d7d6d5d4d3d2d1d0cfcecdcccbcac9c8c7c6c5c4c3c2c1c0",
		`29a4994c59681cfb9a2a109e9c36744b29ffe68ef8f09ba43c0517ff976bfbc617ebc61575669a34639100868e65753ff886140cfbe65843508341275ad1d7dd
		 b233ea093718c9439308fa8566ac2b8f6ec72acff8df8eeaa4d2302fd4113d13079c0be5e9c6a4c56282d16a9996d2924cc6ce4ae23d323b97edd40fd2408ea1
		 3e098df8f0ae05963ad29e623b0c8ec59418cbdfecfae16dae8dd40468d8df29ffd4406c2dd2195accded8d6f57a8a0e846b1a8a83c98a5c42f47900eb724851
		 9062533a4cdbc0ff75749006db1f4cc30bc96c2467d82ca71c7b3056dbb78ba335568f605442601841278cb0e787d443e029bb668dd75be1c309c5a1707724f6`,
		`a5efea7fc82f25ede57c9da42c5d86e70f73d7f41b72e9a38a423b7d72befa9d09d4bd1d465d7c9470f38e7034265c8f15486b0c53efb54acddda171998df8a7
		 9202223d399f2e35c634e9cfbfa5fb97b3e8024242f02c125b82d3e6f60c2882d020966e330ecf931e431c621e6d96fd7a123a6e50dc9b85d736ba41fe368bec
		 8b8f01d4b42b3421103336d1ff6c68dd1a0ac1393f92d55dbeb5bd8e3cb46821f018b023fe570229180a293cebd9fd5df671af571fa552a5216afc012f27944f
		 23d788d48211c9b20e135375f47ae9da252b750abb753ffa33ab5f2cd41dd18f5ff77a0306ccf167d8d114ddd8332f1f514b0d663c42ee1930739db2650ee47d`,
		`f7db4bd8c30a318a583f410de99da2f3e0b8ed42da799f909903ae43c50ec36a145fb2c59428cdab25753e46b91d2164b2c6fb51cca7a12ad9d8e7c271f90863
		 8983991b3a6b689212871e2211c73e4a84847b8c7bcdede0c088073eaa2acc4539b1754bcdd4f17275a6a160a32e68170d450271e79a47859b703dd0ab27f802
		 cf720ae971bc706de83b7319d0bbc018e6771a6c42dc20a8ff3a1d0d328e543f9349d65141203fb9d6ad783007cbe64c44f878f10cf94c2979ba51d49ef950b8
		 e8da808a27c581e090c232653641724d29c4b5373c76b655827ce40907ae0d83da39a266807898d60c1600e4f444d64a665471c351c9756b86ac7acfb2e33a0b`,
	},
}

func generate(t *testing.T, id DHID, random io.Reader) KeyExchange {
	t.Helper()
	exchange, err := GenerateKey(id, random)
	if err != nil {
		t.Fatal(err)
	}
	return exchange
}

// TestDHVectors also shows that the private value comes from the reader and from nowhere
// else.
func TestDHVectors(t *testing.T) {
	for _, v := range dhVectors {
		i := generate(t, v.id, bytes.NewReader(unhex(t, v.privateI)))
		same(t, v.id.String()+" public i", i.Public(), unhex(t, v.publicI))
		if v.privateR == "" { // not published
			shared, err := i.Shared(unhex(t, v.publicR))
			if err != nil {
				t.Fatal(err)
			}
			same(t, v.id.String()+" shared", shared.Bytes(), unhex(t, v.sharedS))
			continue
		}
		r := generate(t, v.id, bytes.NewReader(unhex(t, v.privateR)))
		same(t, v.id.String()+" public r", r.Public(), unhex(t, v.publicR))
		for _, side := range []struct {
			own  KeyExchange
			peer []byte
		}{{i, r.Public()}, {r, i.Public()}} {
			shared, err := side.own.Shared(side.peer)
			if err != nil {
				t.Fatalf("%s: %v", v.id, err)
			}
			same(t, v.id.String()+" shared", shared.Bytes(), unhex(t, v.sharedS))
		}
		answer, shared, err := Respond(v.id, i.Public(), bytes.NewReader(unhex(t, v.privateR)))
		if err != nil {
			t.Fatalf("%s: %v", v.id, err)
		}
		same(t, v.id.String()+" responder's value", answer, unhex(t, v.publicR))
		same(t, v.id.String()+" responder's secret", shared.Bytes(), unhex(t, v.sharedS))
	}
}

func respond(t *testing.T, id DHID, initiator []byte) ([]byte, Secret) {
	t.Helper()
	value, shared, err := Respond(id, initiator, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return value, shared
}

func TestKeyExchangeAgrees(t *testing.T) {
	for _, row := range exchangeTable {
		initiator := generate(t, row.id, rand.Reader)
		value, ours := respond(t, row.id, initiator.Public())
		again, other := respond(t, row.id, initiator.Public())
		theirs, err := initiator.Shared(value)
		if err != nil {
			t.Fatal(err)
		}
		if !ours.Equal(theirs) || ours.Len() == 0 || ours.Equal(other) || bytes.Equal(value, again) {
			t.Errorf("%s: two fresh sides do not agree on a fresh secret", row.name)
		}
		if i, r := row.id.ValueLens(); i != len(initiator.Public()) || r != len(value) {
			t.Errorf("%s: values of %d and %d octets, ValueLens says %d and %d", row.name, len(initiator.Public()), len(value), i, r)
		}
	}
}

func TestKeyExchangeWipe(t *testing.T) {
	for _, row := range exchangeTable {
		exchange := generate(t, row.id, rand.Reader)
		value, _ := respond(t, row.id, exchange.Public())
		exchange.Wipe()
		if shared, err := exchange.Shared(value); err == nil || shared.Len() != 0 || errors.Is(err, ErrPeerValue) {
			t.Errorf("%s: a wiped exchange gave %d octets, error %v", row.name, shared.Len(), err)
		}
	}
}

// TestDHRefusesPeerValues walks the tests of RFC 6989 section 2 and, for Curve25519, the
// values that lead to a null secret (RFC 7748 section 6.1).
func TestDHRefusesPeerValues(t *testing.T) {
	prime := modp2048.prime().Bytes()
	number := func(n int64, add []byte) []byte {
		sum := new(big.Int).Add(new(big.Int).SetBytes(add), big.NewInt(n))
		return sum.FillBytes(make([]byte, 256))
	}
	offCurve := func(public []byte) []byte {
		changed := bytes.Clone(public)
		changed[len(changed)-1] ^= 1
		return changed
	}
	bad := map[DHID]map[string][]byte{
		DHMODP2048: {
			"0": number(0, nil), "1": number(1, nil), "p-1": number(-1, prime), "p": prime, "p+1": number(1, prime),
			"all ones": bytes.Repeat([]byte{0xff}, 256),
		},
		DHECP256: {
			"(0, 0)": make([]byte, 64), "beyond p": bytes.Repeat([]byte{0xff}, 64),
			"off the curve": offCurve(generate(t, DHECP256, rand.Reader).Public()),
			"of P-384":      generate(t, DHECP384, rand.Reader).Public(),
			"with 0x04":     append([]byte{4}, generate(t, DHECP256, rand.Reader).Public()...),
		},
		DHECP384: {
			"(0, 0)": make([]byte, 96), "beyond p": bytes.Repeat([]byte{0xff}, 96),
			"off the curve": offCurve(generate(t, DHECP384, rand.Reader).Public()),
		},
		DHCurve25519: {
			"0": make([]byte, 32), "1": append([]byte{1}, make([]byte, 31)...),
			"order 8": unhex(t, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
			"p":       unhex(t, "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		},
	}
	for id, values := range bad {
		own := generate(t, id, rand.Reader)
		good := generate(t, id, rand.Reader).Public()
		values["empty"] = nil
		values["one octet short"] = good[1:]
		values["one octet long"] = append([]byte{0}, good...)
		for name, value := range values {
			if shared, err := own.Shared(value); !errors.Is(err, ErrPeerValue) || shared.Len() != 0 {
				t.Errorf("%s: value %s: error %v", id, name, err)
			}
			if _, shared, err := Respond(id, value, rand.Reader); !errors.Is(err, ErrPeerValue) || shared.Len() != 0 {
				t.Errorf("%s: value %s of an initiator: error %v", id, name, err)
			}
		}
		// The extremes that are right still pass.
		if id == DHMODP2048 {
			for name, value := range map[string][]byte{"2": number(2, nil), "p-2": number(-2, prime)} {
				if _, err := own.Shared(value); err != nil {
					t.Errorf("%s: value %s: %v", id, name, err)
				}
			}
		}
	}
}

func TestGenerateKeyErrors(t *testing.T) {
	if _, err := GenerateKey(99, rand.Reader); err == nil {
		t.Error("method 99 was made")
	}
	if _, _, err := Respond(99, make([]byte, 32), rand.Reader); err == nil || errors.Is(err, ErrPeerValue) {
		t.Errorf("method 99 was answered, error %v", err)
	}
	for _, row := range exchangeTable {
		if _, err := GenerateKey(row.id, bytes.NewReader(make([]byte, 23))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s from a short reader: error %v", row.name, err)
		}
	}
	for _, id := range []DHID{DHECP256, DHECP384, DHECP224, DHECP192} {
		for name, octet := range map[string]byte{"zero": 0, "beyond the order": 0xff} {
			stuck := bytes.NewReader(bytes.Repeat([]byte{octet}, 1<<16))
			if _, err := GenerateKey(id, stuck); err == nil {
				t.Errorf("%s: scalar %s was taken", id, name)
			}
		}
	}
}

// TestMODPPrimes builds the primes from their definition (RFC 3526), pi included, and checks
// that p and (p-1)/2 are prime: only the published offset gives that.
func TestMODPPrimes(t *testing.T) {
	for _, g := range []*modpGroup{modp768, modp1024, modp1536, modp2048, modp3072, modp4096, modp6144, modp8192} {
		t.Run(g.id.String(), func(t *testing.T) {
			t.Parallel()
			one := big.NewInt(1)
			power := func(n uint) *big.Int { return new(big.Int).Lsh(one, n) }
			middle := new(big.Int).Add(pi(uint(g.bits)-130), big.NewInt(g.offset))
			p := new(big.Int).Sub(power(uint(g.bits)), power(uint(g.bits)-64))
			p.Sub(p, one).Add(p, middle.Lsh(middle, 64))
			if found := g.prime(); p.Cmp(found) != 0 || p.BitLen() != g.bits {
				t.Fatalf("prime is %x, expected %x", found, p)
			}
			// Fermat's test to the base 2: what passes by accident is rare at random, and these are
			// no adversary's choice.
			for _, prime := range []*big.Int{p, new(big.Int).Rsh(p, 1)} {
				if new(big.Int).Exp(big.NewInt(2), new(big.Int).Sub(prime, one), prime).Cmp(one) != 0 {
					t.Error("not a safe prime")
				}
			}
		})
	}
}

// TestMODPEqualsBigInt has math/big compute the same values.
func TestMODPEqualsBigInt(t *testing.T) {
	for _, g := range []*modpGroup{modp768, modp1024, modp1536, modp2048, modp3072, modp4096, modp6144, modp8192} {
		own, peer := generate(t, g.id, rand.Reader), generate(t, g.id, rand.Reader).Public()
		exponent := new(big.Int).SetBytes(own.(*modpExchange).exponent.Bytes())
		value := func(base *big.Int) []byte {
			return base.Exp(base, exponent, g.prime()).FillBytes(make([]byte, g.bits/8))
		}
		same(t, g.id.String()+" public", own.Public(), value(big.NewInt(2)))
		shared, err := own.Shared(peer)
		if err != nil {
			t.Fatal(err)
		}
		same(t, g.id.String()+" shared", shared.Bytes(), value(new(big.Int).SetBytes(peer)))
	}
}

// TestRefusedGroups wants the reason for groups that are refused, and a legacy mark on weak
// ones (RFC 8247 section 2.4).
func TestRefusedGroups(t *testing.T) {
	for _, word := range []string{"modp1024s160", "modp2048s224", "modp2048s256", "ke1_modp2048s256"} {
		for _, parse := range []func(string) (Proposal, error){ParseIKEProposalWithLegacy, ParseESPProposalWithLegacy} {
			text := "aes128-sha256-" + word
			if _, err := parse(text); err == nil || !strings.Contains(err.Error(), "RFC 8247") {
				t.Errorf("%s: error %v", text, err)
			}
		}
	}
	for _, id := range []DHID{22, 23, 24} {
		if _, err := GenerateKey(id, rand.Reader); err == nil || !strings.Contains(err.Error(), "RFC 8247") {
			t.Errorf("group %d: error %v", id, err)
		}
	}
	for _, word := range []string{"modp768", "modp1024", "modp1536", "ecp192"} {
		if p, err := ParseIKEProposal("aes128-sha256-ecp256-" + word); err == nil || !strings.Contains(err.Error(), "weak "+word) {
			t.Errorf("%s was taken: %v, error %v", word, p, err)
		}
		if p, err := ParseIKEProposalWithLegacy("aes128-sha256-ecp256-ke1_" + word); err != nil || len(p.Legacy()) != 1 {
			t.Errorf("%s: legacy %v, error %v", word, p.Legacy(), err)
		}
	}
}

func BenchmarkKeyExchange(b *testing.B) {
	for _, row := range exchangeTable {
		own, err := GenerateKey(row.id, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		value, _, err := Respond(row.id, own.Public(), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("initiator/"+row.name, func(b *testing.B) {
			for b.Loop() {
				if own, err = GenerateKey(row.id, rand.Reader); err != nil {
					b.Fatal(err)
				}
				if _, err = own.Shared(value); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("responder/"+row.name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := Respond(row.id, own.Public(), rand.Reader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// pi returns floor(2^bits * pi) by Machin's formula, 16 arctan(1/5) - 4 arctan(1/239).
func pi(bits uint) *big.Int {
	const guard = 64
	arctan := func(inverse int64) *big.Int {
		sum := new(big.Int)
		power := new(big.Int).Quo(new(big.Int).Lsh(big.NewInt(1), bits+guard), big.NewInt(inverse))
		square := big.NewInt(inverse * inverse)
		for n := int64(1); power.Sign() > 0; n += 2 {
			term := new(big.Int).Quo(power, big.NewInt(n))
			if n%4 == 3 {
				term.Neg(term)
			}
			sum.Add(sum, term)
			power.Quo(power, square)
		}
		return sum
	}
	a, b := arctan(5), arctan(239)
	a.Mul(a, big.NewInt(16))
	b.Mul(b, big.NewInt(4))
	return a.Rsh(a.Sub(a, b), guard)
}
