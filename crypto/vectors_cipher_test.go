package crypto

import (
	"slices"
	"testing"
)

// cipherVectors are published cases of every cipher, without a trailer of ESP. A key ends
// with its salt; a combined-mode cipher has its tag at the end of the ciphertext.
var cipherVectors = []struct {
	source            string
	encr              EncrID
	bits              int // of the key, 0 where there is one size
	key, iv, aad      string
	plain, ciphertext string
}{
	{"RFC 3602 section 4 case 1", EncrAESCBC, 128, "06a9214036b8a15b512e03d534120006", "3dafba429d9eb430b422da802c9fac41", "",
		text("Single block msg"), "e353779c1079aeb82708942dbe77181a"},
	{"RFC 3602 section 4 case 2", EncrAESCBC, 128, "c286696d887c9aa0611bbb3e2025a45a", "562e17996d093d28ddb3ba695a2e6f58", "",
		count32, "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"},
	{"RFC 3602 section 4 case 4", EncrAESCBC, 128, "56e47a38c5598974bc46903dba290349", "8ce82eefbea0da3c44699ed7db51b7d9", "",
		`a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf`,
		`c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55`},
	{"SP 800-38A F.2.3", EncrAESCBC, 192, "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "000102030405060708090a0b0c0d0e0f", "",
		message64, "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"},
	{"SP 800-38A F.2.5", EncrAESCBC, 256, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "000102030405060708090a0b0c0d0e0f", "",
		message64, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},

	{"RFC 3686 section 6 case 1", EncrAESCTR, 128, "ae6852f8121067cc4bf7a5765577f39e 00000030", "0000000000000000", "",
		text("Single block msg"), "e4095d4fb7a7b3792d6175a3261311b8"},
	{"RFC 3686 section 6 case 2", EncrAESCTR, 128, "7e24067817fae0d743d6ce1f32539163 006cb6db", "c0543b59da48d90b", "",
		count32, "5104a106168a72d9790d41ee8edad388eb2e1efc46da57c8fce630df9141be28"},
	{"RFC 3686 section 6 case 3", EncrAESCTR, 128, "7691be035e5020a8ac6e618529f9a0dc 00e0017b", "27777f3f4a1786f0", "",
		count32 + "20212223", "c1cf48a89f2ffdd9cf4652e9efdb72d74540a42bde6d7836d59a5ceaaef3105325b2072f"},
	{"RFC 3686 section 6 case 4", EncrAESCTR, 192, "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515 00000048", "36733c147d6d93cb", "",
		text("Single block msg"), "4b55384fe259c9c84e7935a003cbe928"},
	{"RFC 3686 section 6 case 5", EncrAESCTR, 192, "7c5cb2401b3dc33c19e7340819e0f69c678c3db8e6f6a91a 0096b03b", "020c6eadc2cb500d", "",
		count32, "453243fc609b23327edfaafa7131cd9f8490701c5ad4a79cfc1fe0ff42f4fb00"},
	{"RFC 3686 section 6 case 6", EncrAESCTR, 192, "02bf391ee8ecb159b959617b0965279bf59b60a786d3e0fe 0007bdfd", "5cbd60278dcc0912", "",
		count32 + "20212223", "96893fc55e5c722f540b7dd1ddf7e758d288bc95c69165884536c811662f2188abee0935"},
	{"RFC 3686 section 6 case 7", EncrAESCTR, 256, "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104 00000060", "db5672c97aa8f0b2", "",
		text("Single block msg"), "145ad01dbf824ec7560863dc71e3e0c0"},
	{"RFC 3686 section 6 case 8", EncrAESCTR, 256, "f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a23884 00faac24", "c1585ef15a43d875", "",
		count32, "f05e231b3894612c49ee000b804eb2a9b8306b508f839d6a5530831d9344af1c"},
	{"RFC 3686 section 6 case 9", EncrAESCTR, 256, "ff7a617ce69148e4f1726e2f43581de2aa62d9f805532edff1eed687fb54153d 001cc5b7", "51a51d70a1c11148", "",
		count32 + "20212223", "eb6c52821d0bbbf7ce7594462aca4faab407df866569fd07f48cc0b583d6071f1ec0e6b8"},

	{"FIPS 81 table C1", EncrDES, 0, "0123456789abcdef", "1234567890abcdef", "",
		text("Now is the time for all "), "e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6"},
	{"NIST TDES multi-block message 1", Encr3DES, 0, "627f460e08104a1043cd265d5840eaf1313edf97df2a8a8c", "8e29f75ea77e5475", "",
		"326a494cd33fe756", "b22b8d66de970692"},
	{"NIST TDES multi-block message 2", Encr3DES, 0, "37ae5ebf46dff2dc0754b94f31cbb3855e7fd36dc870bfae", "3d1de3cc132e3b65", "",
		"84401f78fe6c10876d8ea23094ea5309", "7b1f7c7e3b1c948ebd04a75ffba7d2f5"},
	{"RFC 2410 section 3: the identity", EncrNull, 0, "", "", "", text("attack at dawn, the text itself"), text("attack at dawn, the text itself")},

	// RFC 4309 has no cases of its own, nor does anybody else with a nonce of 11 octets
	// but NIST's CAVS files.
	{"NIST CAVS, tag of 16", EncrAESCCM16, 128, "1e2c7e01419aefc00d58966e5ca24bd3 4fa319", "d3015ad830601556",
		"dae6289c452dfd635eda4cb6e6fcf9b70c56cbe4e0057ae10a630978bc2c55de", "87a336fd96b39378a92863ba12a31485571e06c97b21ef767f387e8e29a43e7e",
		"8a1e11f0026be219fc70c46d8eb799abc54ba2acd3f348ff3bb5ce53efdebb02a986156c13feda0a22b8293dd8399a23"},
	{"NIST CAVS, tag of 16, no text", EncrAESCCM16, 192, "f46bc27562feb4e1a3f0ffdd4e4b1275531473668d88f680 a02035", "26f2218d5020dae2",
		"5b9e1367025eefc16cf9d71e528f7a47e9d4cf20146ef02dd89e2b56102356e7", "", "36ea7a7008dc6abcad0c7a63f661fd9b"},
	{"NIST CAVS, tag of 16, key of 256", EncrAESCCM16, 256, "abd0e9330726e5838c7695d4b6dcf346f98fade3021383773fb0f1a1a1220f2b 24a78b", "07cbcc0ee633bff5",
		"d4db301d03fefd5f87d48cb6b6f17a5dab90658d8eca4d4f160c40904bc73673", "f5c67d48c1b7e692975acac4a96df93d6cdebcf190ea6ab2358636af5cfe4b3a",
		"836f408772cfc113efbb8021046c5809071bfcdfc03f5bc7e079a86e717c3fcf5cdab233e513e20d74d1efb50f3ab5f8"},
	{"NIST CAVS, tag of 12", EncrAESCCM12, 256, "7cc8183b8d99e07c4541b8bd5ca7c2328ab80259a4fea92c09759a9b3c9b2739 f9d94e", "63b53d9d43f61e50",
		"57f56b8b575c3d3b1302010c834c96358ed639cf7d149b94b03936e68f57e013", "3b6c2936b6ef07a68372074fcffa66895fcab1bad58f2c2730db750993d465e4",
		"b0885a33aae5c71d8523c7c62ff41e3dcc63442507784f9e96b888ebbc481f0639af39acd84a80397b728af7"},
	{"NIST CAVS, tag of 8", EncrAESCCM8, 256, "e08d997160d7971abd0199d58adf713ad3df244b5e3d4b4e307ab9d8530a5e2b 1e2991", "ad8ec1530acf2dbe",
		"19b61f57c4f3f08b782b9402290f42276b75cb9834087e79e43e490d848b2287", "e1d9d813eb3a753f9dbd5f66bedcbb66bf1799624a39271f1ddc24ae192f984c",
		"19b86133452b43966f51d020307d9bc6263df8c96516a89ff0621734f21e8d754e13ccc0c32a542d"},

	{"RFC 8439 section 2.8.2", EncrChaCha20Poly1305, 0, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f 07000000", "4041424344454647",
		"50515253c0c1c2c3c4c5c6c7", text("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."),
		`d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
		92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691`},
	{"RFC 7634 appendix B", EncrChaCha20Poly1305, 0, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3", "1011121314151617",
		"c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029", "0000000c000040010000000a00",
		"610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2"},
}

const (
	count32   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	message64 = `6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710`
)

// S-100: the published cases of the ciphers of ESP pass in both directions.
func TestCipherVectors(t *testing.T) {
	for _, v := range cipherVectors {
		key, iv, plain, want := unhex(t, v.key), unhex(t, v.iv), unhex(t, v.plain), unhex(t, v.ciphertext)
		s := Suite{Encr: v.encr, KeyBits: v.bits}
		if s.AEAD() {
			p, err := newAEADProtection(s, key[:s.KeyLen()], key[s.KeyLen():])
			if err != nil {
				t.Fatal(err)
			}
			sealed := p.seal(nil, unhex(t, v.aad), iv, plain, nil)
			same(t, v.source, sealed[len(iv):], want)
			opened, err := p.open(unhex(t, v.aad), sealed, nil)
			if err != nil {
				t.Errorf("%s: %v", v.source, err)
			}
			same(t, v.source+" opened", opened, plain)
			continue
		}
		c, err := newTextCipher(v.encr, key[:s.KeyLen()], key[s.KeyLen():])
		if err != nil {
			t.Fatal(err)
		}
		text := slices.Clone(plain)
		c.encrypt(iv, text)
		same(t, v.source, text, want)
		c.decrypt(iv, text)
		same(t, v.source+" decrypted", text, plain)
	}
}

// TestCCMVectors are the cases with nonces of other lengths than ESP's: packet vector 1 of RFC 3610
// section 8 and example 3 of SP 800-38C appendix C.
func TestCCMVectors(t *testing.T) {
	for name, v := range map[string]struct{ key, nonce, aad, plain, sealed string }{
		"RFC 3610 packet vector 1": {"c0c1c2c3c4c5c6c7c8c9cacbcccdcecf", "00000003020100a0a1a2a3a4a5", "0001020304050607",
			"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e", "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"},
		"SP 800-38C example 3": {"404142434445464748494a4b4c4d4e4f", "101112131415161718191a1b", "000102030405060708090a0b0c0d0e0f10111213",
			"202122232425262728292a2b2c2d2e2f3031323334353637", "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951"},
	} {
		nonce := unhex(t, v.nonce)
		c := &ccm{mustAES(unhex(t, v.key)), len(nonce), 8}
		same(t, name, c.Seal(nil, nonce, unhex(t, v.plain), unhex(t, v.aad)), unhex(t, v.sealed))
	}
}

// macVectors are published cases of the integrity algorithms that are no PRF here; TestPRFVectors
// has the others.
var macVectors = []struct {
	source          string
	id              IntegID
	key, data, want string
}{
	{"RFC 2202 section 2 case 1", IntegHMACMD5, rep("0b", 16), text("Hi There"), "9294727a3638bb1c13f48ef8158bfc9d"},
	{"RFC 2202 section 2 case 2", IntegHMACMD5, text("Jefe"), text("what do ya want for nothing?"), "750c783e6ab0b503eaa86e310a5db738"},
	{"RFC 2202 section 2 case 3", IntegHMACMD5, rep("aa", 16), rep("dd", 50), "56be34521d144c88dbb8c733f0e8b3f6"},
	{"RFC 2202 section 2 case 4", IntegHMACMD5, key25, rep("cd", 50), "697eaf0aca3a3aea3a75164746ffaa79"},
	{"RFC 2202 section 2 case 5", IntegHMACMD5, rep("0c", 16), text("Test With Truncation"), "56461ef2342edc00f9bab995"},
	{"RFC 2202 section 2 case 6", IntegHMACMD5, rep("aa", 80), text("Test Using Larger Than Block-Size Key - Hash Key First"), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"},
	{"RFC 2202 section 2 case 7", IntegHMACMD5, rep("aa", 80), text("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"), "6f630fad67cda0ee1fb1f562db3aa53e"},
	{"RFC 2202 section 3 case 5", IntegHMACSHA1, rep("0c", 20), text("Test With Truncation"), "4c1a03424b55e07fe7f27be1"},
	{"RFC 4231 section 4.6", IntegHMACSHA256, rep("0c", 20), text("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"},
	{"RFC 4231 section 4.6", IntegHMACSHA384, rep("0c", 20), text("Test With Truncation"), "3abf34c3503b2a23a46efc619baef897"},
	{"RFC 4231 section 4.6", IntegHMACSHA512, rep("0c", 20), text("Test With Truncation"), "415fad6271580a531d4179bc891d87a6"},

	{"RFC 3566 section 4.6 case 1", IntegAESXCBC, count32[:32], "", "75f0251d528ac01c4573dfd584d79f29"},
	{"RFC 3566 section 4.6 case 2", IntegAESXCBC, count32[:32], "000102", "5b376580ae2f19afe7219ceef172756f"},
	{"RFC 3566 section 4.6 case 3", IntegAESXCBC, count32[:32], count32[:32], "d2a246fa349b68a79998a4394ff7a263"},
	{"RFC 3566 section 4.6 case 4", IntegAESXCBC, count32[:32], count32[:40], "47f51b4564966215b8985c63055ed308"},
	{"RFC 3566 section 4.6 case 5", IntegAESXCBC, count32[:32], count32, "f54f0ec8d2b9f3d36807734bd5283fd4"},

	{"RFC 4494 section 3 case 1", IntegAESCMAC, "2b7e151628aed2a6abf7158809cf4f3c", "", "bb1d6929e95937287fa37d129b756746"},
	{"RFC 4494 section 3 case 2", IntegAESCMAC, "2b7e151628aed2a6abf7158809cf4f3c", message64[:32], "070a16b46b4d4144f79bdd9dd04a287c"},
	{"RFC 4494 section 3 case 3", IntegAESCMAC, "2b7e151628aed2a6abf7158809cf4f3c", message64[:80], "dfa66747de9ae63030ca32611497c827"},
	{"RFC 4494 section 3 case 4", IntegAESCMAC, "2b7e151628aed2a6abf7158809cf4f3c", message64, "51f0bebf7e3b9d92fc49741779363cfe"},
}

// S-100: the published cases of the integrity algorithms pass, however the message is cut
// into parts.
func TestMACVectors(t *testing.T) {
	for _, v := range macVectors {
		row, _ := integByID(v.id)
		data, want := unhex(t, v.data), unhex(t, v.want)
		same(t, v.source, sum(row.mac(unhex(t, v.key)), len(want), data), want)
		for cut := range data {
			same(t, v.source+" in parts", sum(row.mac(unhex(t, v.key)), len(want), data[:cut], nil, data[cut:]), want)
		}
	}
}

// S-100: no algorithm of the registry is without a published case: those of AES-GCM are
// in TestGCMVectors, those of AES-GMAC in TestESPVectors and TestWycheproofMAC.
func TestEveryAlgorithmHasAVector(t *testing.T) {
	encrs := map[EncrID]bool{EncrAESGCM8: true, EncrAESGCM12: true, EncrAESGCM16: true, EncrNullAESGMAC: true}
	for _, v := range cipherVectors {
		encrs[v.encr] = true
	}
	for _, row := range encrTable {
		if !encrs[row.id] {
			t.Errorf("%s has no vector", row.name)
		}
	}
	integs := map[IntegID]bool{IntegAESGMAC128: true, IntegAESGMAC192: true, IntegAESGMAC256: true}
	for _, v := range macVectors {
		integs[v.id] = true
	}
	for _, row := range integTable {
		if !integs[row.id] {
			t.Errorf("%s has no vector", row.name)
		}
	}
	prfs := map[PRFID]bool{}
	for _, v := range prfVectors {
		prfs[v.id] = true
	}
	for _, row := range prfTable {
		if !prfs[row.id] {
			t.Errorf("%s has no vector", row.name)
		}
	}
}
