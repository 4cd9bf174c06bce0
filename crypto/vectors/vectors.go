// Package vectors has published test cases of what ESP and AH are made of. Tests hold every implementation of it against them: the reference of
// package crypto, and the libraries by which the data plane encrypts. Octets are hexadecimal, blanks allowed, and algorithms have the words of
// package crypto.
package vectors

import (
	"encoding/hex"
	"strings"
)

// Cipher is a case of a cipher, without a trailer of ESP. The key ends with its salt; a combined-mode cipher has its tag at the end of the ciphertext.
type Cipher struct {
	Source            string
	Algorithm         string
	Key, IV, AAD      string
	Plain, Ciphertext string
}

// Ciphers has cases of every cipher but AES-GCM and AES-GMAC, which Packets has.
var Ciphers = []Cipher{
	{"RFC 3602 section 4 case 1", "aes128", "06a9214036b8a15b512e03d534120006", "3dafba429d9eb430b422da802c9fac41", "",
		text("Single block msg"), "e353779c1079aeb82708942dbe77181a"},
	{"RFC 3602 section 4 case 2", "aes128", "c286696d887c9aa0611bbb3e2025a45a", "562e17996d093d28ddb3ba695a2e6f58", "",
		count32, "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"},
	{"RFC 3602 section 4 case 4", "aes128", "56e47a38c5598974bc46903dba290349", "8ce82eefbea0da3c44699ed7db51b7d9", "",
		`a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf`,
		`c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55`},
	{"SP 800-38A F.2.3", "aes192", "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "000102030405060708090a0b0c0d0e0f", "",
		message64, "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"},
	{"SP 800-38A F.2.5", "aes256", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "000102030405060708090a0b0c0d0e0f", "",
		message64, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},

	{"RFC 3686 section 6 case 1", "aes128ctr", "ae6852f8121067cc4bf7a5765577f39e 00000030", "0000000000000000", "",
		text("Single block msg"), "e4095d4fb7a7b3792d6175a3261311b8"},
	{"RFC 3686 section 6 case 2", "aes128ctr", "7e24067817fae0d743d6ce1f32539163 006cb6db", "c0543b59da48d90b", "",
		count32, "5104a106168a72d9790d41ee8edad388eb2e1efc46da57c8fce630df9141be28"},
	{"RFC 3686 section 6 case 3", "aes128ctr", "7691be035e5020a8ac6e618529f9a0dc 00e0017b", "27777f3f4a1786f0", "",
		count32 + "20212223", "c1cf48a89f2ffdd9cf4652e9efdb72d74540a42bde6d7836d59a5ceaaef3105325b2072f"},
	{"RFC 3686 section 6 case 4", "aes192ctr", "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515 00000048", "36733c147d6d93cb", "",
		text("Single block msg"), "4b55384fe259c9c84e7935a003cbe928"},
	{"RFC 3686 section 6 case 5", "aes192ctr", "7c5cb2401b3dc33c19e7340819e0f69c678c3db8e6f6a91a 0096b03b", "020c6eadc2cb500d", "",
		count32, "453243fc609b23327edfaafa7131cd9f8490701c5ad4a79cfc1fe0ff42f4fb00"},
	{"RFC 3686 section 6 case 6", "aes192ctr", "02bf391ee8ecb159b959617b0965279bf59b60a786d3e0fe 0007bdfd", "5cbd60278dcc0912", "",
		count32 + "20212223", "96893fc55e5c722f540b7dd1ddf7e758d288bc95c69165884536c811662f2188abee0935"},
	{"RFC 3686 section 6 case 7", "aes256ctr", "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104 00000060", "db5672c97aa8f0b2", "",
		text("Single block msg"), "145ad01dbf824ec7560863dc71e3e0c0"},
	{"RFC 3686 section 6 case 8", "aes256ctr", "f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a23884 00faac24", "c1585ef15a43d875", "",
		count32, "f05e231b3894612c49ee000b804eb2a9b8306b508f839d6a5530831d9344af1c"},
	{"RFC 3686 section 6 case 9", "aes256ctr", "ff7a617ce69148e4f1726e2f43581de2aa62d9f805532edff1eed687fb54153d 001cc5b7", "51a51d70a1c11148", "",
		count32 + "20212223", "eb6c52821d0bbbf7ce7594462aca4faab407df866569fd07f48cc0b583d6071f1ec0e6b8"},

	{"FIPS 81 table C1", "des", "0123456789abcdef", "1234567890abcdef", "",
		text("Now is the time for all "), "e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6"},
	{"NIST TDES multi-block message 1", "3des", "627f460e08104a1043cd265d5840eaf1313edf97df2a8a8c", "8e29f75ea77e5475", "",
		"326a494cd33fe756", "b22b8d66de970692"},
	{"NIST TDES multi-block message 2", "3des", "37ae5ebf46dff2dc0754b94f31cbb3855e7fd36dc870bfae", "3d1de3cc132e3b65", "",
		"84401f78fe6c10876d8ea23094ea5309", "7b1f7c7e3b1c948ebd04a75ffba7d2f5"},
	{"RFC 2410 section 3: the identity", "null", "", "", "", text("attack at dawn, the text itself"), text("attack at dawn, the text itself")},

	// RFC 4309 has no cases of its own, nor does anybody else with a nonce of 11 octets
	// but NIST's CAVS files.
	{"NIST CAVS, tag of 16", "aes128ccm16", "1e2c7e01419aefc00d58966e5ca24bd3 4fa319", "d3015ad830601556",
		"dae6289c452dfd635eda4cb6e6fcf9b70c56cbe4e0057ae10a630978bc2c55de", "87a336fd96b39378a92863ba12a31485571e06c97b21ef767f387e8e29a43e7e",
		"8a1e11f0026be219fc70c46d8eb799abc54ba2acd3f348ff3bb5ce53efdebb02a986156c13feda0a22b8293dd8399a23"},
	{"NIST CAVS, tag of 16, no text", "aes192ccm16", "f46bc27562feb4e1a3f0ffdd4e4b1275531473668d88f680 a02035", "26f2218d5020dae2",
		"5b9e1367025eefc16cf9d71e528f7a47e9d4cf20146ef02dd89e2b56102356e7", "", "36ea7a7008dc6abcad0c7a63f661fd9b"},
	{"NIST CAVS, tag of 16, key of 256", "aes256ccm16", "abd0e9330726e5838c7695d4b6dcf346f98fade3021383773fb0f1a1a1220f2b 24a78b", "07cbcc0ee633bff5",
		"d4db301d03fefd5f87d48cb6b6f17a5dab90658d8eca4d4f160c40904bc73673", "f5c67d48c1b7e692975acac4a96df93d6cdebcf190ea6ab2358636af5cfe4b3a",
		"836f408772cfc113efbb8021046c5809071bfcdfc03f5bc7e079a86e717c3fcf5cdab233e513e20d74d1efb50f3ab5f8"},
	{"NIST CAVS, tag of 12", "aes256ccm12", "7cc8183b8d99e07c4541b8bd5ca7c2328ab80259a4fea92c09759a9b3c9b2739 f9d94e", "63b53d9d43f61e50",
		"57f56b8b575c3d3b1302010c834c96358ed639cf7d149b94b03936e68f57e013", "3b6c2936b6ef07a68372074fcffa66895fcab1bad58f2c2730db750993d465e4",
		"b0885a33aae5c71d8523c7c62ff41e3dcc63442507784f9e96b888ebbc481f0639af39acd84a80397b728af7"},
	{"NIST CAVS, tag of 8", "aes256ccm8", "e08d997160d7971abd0199d58adf713ad3df244b5e3d4b4e307ab9d8530a5e2b 1e2991", "ad8ec1530acf2dbe",
		"19b61f57c4f3f08b782b9402290f42276b75cb9834087e79e43e490d848b2287", "e1d9d813eb3a753f9dbd5f66bedcbb66bf1799624a39271f1ddc24ae192f984c",
		"19b86133452b43966f51d020307d9bc6263df8c96516a89ff0621734f21e8d754e13ccc0c32a542d"},

	{"RFC 8439 section 2.8.2", "chacha20poly1305", "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f 07000000", "4041424344454647",
		"50515253c0c1c2c3c4c5c6c7", text("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."),
		`d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
		92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691`},
	{"RFC 7634 appendix B", "chacha20poly1305", "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3", "1011121314151617",
		"c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029", "0000000c000040010000000a00",
		"610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2"},
}

// MAC is a case of an integrity algorithm; what is wanted may be cut off at its end.
type MAC struct {
	Source          string
	Algorithm       string
	Key, Data, Want string
}

// MACs has cases of every integrity algorithm but AES-GMAC.
var MACs = []MAC{
	{"RFC 2202 section 2 case 1", "md5", rep("0b", 16), text("Hi There"), "9294727a3638bb1c13f48ef8158bfc9d"},
	{"RFC 2202 section 2 case 2", "md5", text("Jefe"), text("what do ya want for nothing?"), "750c783e6ab0b503eaa86e310a5db738"},
	{"RFC 2202 section 2 case 3", "md5", rep("aa", 16), rep("dd", 50), "56be34521d144c88dbb8c733f0e8b3f6"},
	{"RFC 2202 section 2 case 4", "md5", key25, rep("cd", 50), "697eaf0aca3a3aea3a75164746ffaa79"},
	{"RFC 2202 section 2 case 5", "md5", rep("0c", 16), text("Test With Truncation"), "56461ef2342edc00f9bab995"},
	{"RFC 2202 section 2 case 6", "md5", rep("aa", 80), text("Test Using Larger Than Block-Size Key - Hash Key First"), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"},
	{"RFC 2202 section 2 case 7", "md5", rep("aa", 80), text("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"), "6f630fad67cda0ee1fb1f562db3aa53e"},
	{"RFC 2202 section 3 case 5", "sha1", rep("0c", 20), text("Test With Truncation"), "4c1a03424b55e07fe7f27be1"},
	{"RFC 4231 section 4.6", "sha256", rep("0c", 20), text("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"},
	{"RFC 4231 section 4.6", "sha384", rep("0c", 20), text("Test With Truncation"), "3abf34c3503b2a23a46efc619baef897"},
	{"RFC 4231 section 4.6", "sha512", rep("0c", 20), text("Test With Truncation"), "415fad6271580a531d4179bc891d87a6"},

	{"RFC 3566 section 4.6 case 1", "aesxcbc", count32[:32], "", "75f0251d528ac01c4573dfd584d79f29"},
	{"RFC 3566 section 4.6 case 2", "aesxcbc", count32[:32], "000102", "5b376580ae2f19afe7219ceef172756f"},
	{"RFC 3566 section 4.6 case 3", "aesxcbc", count32[:32], count32[:32], "d2a246fa349b68a79998a4394ff7a263"},
	{"RFC 3566 section 4.6 case 4", "aesxcbc", count32[:32], count32[:40], "47f51b4564966215b8985c63055ed308"},
	{"RFC 3566 section 4.6 case 5", "aesxcbc", count32[:32], count32, "f54f0ec8d2b9f3d36807734bd5283fd4"},

	{"RFC 4494 section 3 case 1", "aescmac", "2b7e151628aed2a6abf7158809cf4f3c", "", "bb1d6929e95937287fa37d129b756746"},
	{"RFC 4494 section 3 case 2", "aescmac", "2b7e151628aed2a6abf7158809cf4f3c", message64[:32], "070a16b46b4d4144f79bdd9dd04a287c"},
	{"RFC 4494 section 3 case 3", "aescmac", "2b7e151628aed2a6abf7158809cf4f3c", message64[:80], "dfa66747de9ae63030ca32611497c827"},
	{"RFC 4494 section 3 case 4", "aescmac", "2b7e151628aed2a6abf7158809cf4f3c", message64, "51f0bebf7e3b9d92fc49741779363cfe"},

	{"RFC 2202 section 3 case 1", "sha1", rep("0b", 20), text("Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00"},
	{"RFC 2202 section 3 case 2", "sha1", text("Jefe"), text("what do ya want for nothing?"), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
	{"RFC 2202 section 3 case 3", "sha1", rep("aa", 20), rep("dd", 50), "125d7342b9ac11cd91a39af48aa17b4f63f175d3"},
	{"RFC 2202 section 3 case 4", "sha1", key25, rep("cd", 50), "4c9007f4026250c6bc8414f9bf50c86c2d7235da"},
	{"RFC 2202 section 3 case 5, whole", "sha1", rep("0c", 20), text("Test With Truncation"), "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"},
	{"RFC 2202 section 3 case 6", "sha1", rep("aa", 80), text("Test Using Larger Than Block-Size Key - Hash Key First"), "aa4ae5e15272d00e95705637ce8a3b55ed402112"},
	{"RFC 2202 section 3 case 7", "sha1", rep("aa", 80), text("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"), "e8e99d0f45237d786d6bbaa7965c7808bbff1a91"},
	{"RFC 4231 section 4.2", "sha256", rep("0b", 20), text("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{"RFC 4231 section 4.3", "sha256", text("Jefe"), text("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{"RFC 4231 section 4.4", "sha256", rep("aa", 20), rep("dd", 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	{"RFC 4231 section 4.5", "sha256", key25, rep("cd", 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	{"RFC 4231 section 4.7", "sha256", rep("aa", 131), text(largeKey), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	{"RFC 4231 section 4.8", "sha256", rep("aa", 131), text(largeKeyAndData), "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	{"RFC 4231 section 4.2", "sha384", rep("0b", 20), text("Hi There"), "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6"},
	{"RFC 4231 section 4.3", "sha384", text("Jefe"), text("what do ya want for nothing?"), "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"},
	{"RFC 4231 section 4.4", "sha384", rep("aa", 20), rep("dd", 50), "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27"},
	{"RFC 4231 section 4.5", "sha384", key25, rep("cd", 50), "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb"},
	{"RFC 4231 section 4.7", "sha384", rep("aa", 131), text(largeKey), "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952"},
	{"RFC 4231 section 4.8", "sha384", rep("aa", 131), text(largeKeyAndData), "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e"},
	{"RFC 4231 section 4.2", "sha512", rep("0b", 20), text("Hi There"), "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
	{"RFC 4231 section 4.3", "sha512", text("Jefe"), text("what do ya want for nothing?"), "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
	{"RFC 4231 section 4.4", "sha512", rep("aa", 20), rep("dd", 50), "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"},
	{"RFC 4231 section 4.5", "sha512", key25, rep("cd", 50), "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd"},
	{"RFC 4231 section 4.7", "sha512", rep("aa", 131), text(largeKey), "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"},
	{"RFC 4231 section 4.8", "sha512", rep("aa", 131), text(largeKeyAndData), "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58"},
}

const (
	count32   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	message64 = `6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710`
)

const (
	key25           = "0102030405060708090a0b0c0d0e0f10111213141516171819"
	largeKey        = "Test Using Larger Than Block-Size Key - Hash Key First"
	largeKeyAndData = "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm."
)

func rep(octet string, n int) string { return strings.Repeat(octet, n) }
func text(s string) string           { return hex.EncodeToString([]byte(s)) }

// Packet is a whole ESP packet, from its SPI to its ICV, and what is in it.
type Packet struct {
	Source       string
	Suite        string
	SPI          uint32
	Keymat       string
	ESN          bool
	SequenceHigh uint32 // with ESN
	Packet       string
	Payload      string
	NextHeader   uint8
}

// Packets has the packets of the documents of AES-GCM, AES-GMAC and ChaCha20-Poly1305.
var Packets = []Packet{
	{
		"draft-mcgrew-gcm-test-01, first packet, with an extended sequence number", "aes128gcm16", 0x4321,
		"4c80cdefbb5d10da906ac73c3613a634 2e443b68", true, 0x87654321,
		`00004321 00000000 4956ed7e3b244cfe
		fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff62
		47aeabb786b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4`,
		`45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f756470037369
		700963796265726369747902646b0000210001`, 1,
	},
	{
		"draft-mcgrew-gcm-test-01, AES-256", "aes256gcm16", 0x4a2cbfe3,
		"abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344", false, 0,
		`4a2cbfe3 00000002 0102030405060708
		ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99def842d8e
		b335f4eecfdbf831824b4c4915956c96`,
		"4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b401010402", 1,
	},
	{
		"draft-mcgrew-gcm-test-01, AES-GMAC", "aes128gmac", 0x4321,
		"4c80cdefbb5d10da906ac73c3613a634 22433c64", false, 0,
		`00004321 00000007 0000000000000000
		45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f7071727374 01020201
		f2a9a836e155106aa8dcd618e4099aaa`,
		"45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f7071727374", 1,
	},
	{
		"RFC 7634 appendix A", "chacha20poly1305", 0x01020304,
		"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3", false, 0,
		`01020304 00000005 1011121314151617
		24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
		cbec163fac469b502773f6fb94e664da9165b82829f641e076aaa8266b7fb0f7b11b369907e1ad43`,
		`45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f1011121314151617
		18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637`, 4,
	},
}
