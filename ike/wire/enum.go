package wire

import "fmt"

// named gives the name of an enumeration's value, or its kind and number when it has none: "payload 200".
func named[T ~uint8 | ~uint16](names map[T]string, kind string, value T) string {
	if name, ok := names[value]; ok {
		return name
	}
	return fmt.Sprintf("%s %d", kind, uint64(value))
}

// ExchangeType is the kind of an exchange, RFC 7296 3.1.
type ExchangeType uint8

const (
	ExchangeIKESAInit     ExchangeType = 34
	ExchangeIKEAuth       ExchangeType = 35
	ExchangeCreateChildSA ExchangeType = 36
	ExchangeInformational ExchangeType = 37
	ExchangeIntermediate  ExchangeType = 43 // RFC 9242
	ExchangeFollowupKE    ExchangeType = 44 // RFC 9370
)

var exchangeNames = map[ExchangeType]string{
	ExchangeIKESAInit: "IKE_SA_INIT", ExchangeIKEAuth: "IKE_AUTH",
	ExchangeCreateChildSA: "CREATE_CHILD_SA", ExchangeInformational: "INFORMATIONAL",
	ExchangeIntermediate: "IKE_INTERMEDIATE", ExchangeFollowupKE: "IKE_FOLLOWUP_KE",
}

func (t ExchangeType) String() string { return named(exchangeNames, "exchange", t) }

// PayloadType is the type of a payload, RFC 7296 3.2.
type PayloadType uint8

const (
	PayloadNone          PayloadType = 0
	PayloadSA            PayloadType = 33
	PayloadKE            PayloadType = 34
	PayloadIDi           PayloadType = 35
	PayloadIDr           PayloadType = 36
	PayloadCert          PayloadType = 37
	PayloadCertReq       PayloadType = 38
	PayloadAuth          PayloadType = 39
	PayloadNonce         PayloadType = 40
	PayloadNotify        PayloadType = 41
	PayloadDelete        PayloadType = 42
	PayloadVendorID      PayloadType = 43
	PayloadTSi           PayloadType = 44
	PayloadTSr           PayloadType = 45
	PayloadEncrypted     PayloadType = 46 // SK
	PayloadConfiguration PayloadType = 47
	PayloadEAP           PayloadType = 48
	PayloadFragment      PayloadType = 53 // SKF, RFC 7383 2.5
)

// The names are RFC 7296's notation (section 1.2 and appendix C), which operators know from traces.
var payloadNames = map[PayloadType]string{
	PayloadNone: "none", PayloadSA: "SA", PayloadKE: "KE", PayloadIDi: "IDi", PayloadIDr: "IDr", PayloadCert: "CERT", PayloadCertReq: "CERTREQ",
	PayloadAuth: "AUTH", PayloadNonce: "Nonce", PayloadNotify: "N", PayloadDelete: "D", PayloadVendorID: "V", PayloadTSi: "TSi", PayloadTSr: "TSr",
	PayloadEncrypted: "SK", PayloadConfiguration: "CP", PayloadEAP: "EAP", PayloadFragment: "SKF",
}

func (t PayloadType) String() string { return named(payloadNames, "payload", t) }

// ProtocolID names a protocol in proposals, notifications and deletions, RFC 7296 3.3.1.
type ProtocolID uint8

const (
	ProtocolNone ProtocolID = 0 // a notification that names no SA
	ProtocolIKE  ProtocolID = 1
	ProtocolAH   ProtocolID = 2
	ProtocolESP  ProtocolID = 3
)

var protocolNames = map[ProtocolID]string{ProtocolNone: "none", ProtocolIKE: "IKE", ProtocolAH: "AH", ProtocolESP: "ESP"}

func (p ProtocolID) String() string { return named(protocolNames, "protocol", p) }

// TransformType says what a transform is for, RFC 7296 3.3.2.
type TransformType uint8

const (
	TransformEncr  TransformType = 1
	TransformPRF   TransformType = 2
	TransformInteg TransformType = 3
	TransformDH    TransformType = 4
	TransformESN   TransformType = 5

	TransformAdditionalKE1 TransformType = 6 // RFC 9370, 7 in all
	TransformAdditionalKE7 TransformType = 12
)

var transformNames = map[TransformType]string{
	TransformEncr: "ENCR", TransformPRF: "PRF", TransformInteg: "INTEG", TransformDH: "D-H", TransformESN: "ESN",
	6: "ADDKE1", 7: "ADDKE2", 8: "ADDKE3", 9: "ADDKE4", 10: "ADDKE5", 11: "ADDKE6", 12: "ADDKE7",
}

func (t TransformType) String() string { return named(transformNames, "transform type", t) }

// The two IDs of a [TransformESN] transform, RFC 7296 3.3.2.
const (
	ESNNo  uint16 = 0
	ESNYes uint16 = 1
)

// IDType is the kind of an identity, RFC 7296 3.5.
type IDType uint8

const (
	IDIPv4Address   IDType = 1
	IDFQDN          IDType = 2
	IDRFC822Address IDType = 3
	IDIPv6Address   IDType = 5
	IDDERASN1DN     IDType = 9
	IDDERASN1GN     IDType = 10
	IDKeyID         IDType = 11
	IDNull          IDType = 13 // RFC 7619 2.1
)

var idNames = map[IDType]string{
	IDIPv4Address: "ID_IPV4_ADDR", IDFQDN: "ID_FQDN", IDRFC822Address: "ID_RFC822_ADDR", IDIPv6Address: "ID_IPV6_ADDR",
	IDDERASN1DN: "ID_DER_ASN1_DN", IDDERASN1GN: "ID_DER_ASN1_GN", IDKeyID: "ID_KEY_ID", IDNull: "ID_NULL",
}

func (t IDType) String() string { return named(idNames, "ID type", t) }

// AuthMethod is how a peer proves its identity, RFC 7296 3.8.
type AuthMethod uint8

const (
	AuthRSASignature     AuthMethod = 1
	AuthSharedKeyMIC     AuthMethod = 2 // pre-shared key
	AuthDSSSignature     AuthMethod = 3
	AuthECDSASHA256P256  AuthMethod = 9 // RFC 4754
	AuthECDSASHA384P384  AuthMethod = 10
	AuthECDSASHA512P521  AuthMethod = 11
	AuthNull             AuthMethod = 13 // RFC 7619
	AuthDigitalSignature AuthMethod = 14 // RFC 7427
)

var authNames = map[AuthMethod]string{
	AuthRSASignature: "RSA signature", AuthSharedKeyMIC: "pre-shared key", AuthDSSSignature: "DSS signature",
	AuthECDSASHA256P256: "ECDSA with SHA-256 on P-256", AuthECDSASHA384P384: "ECDSA with SHA-384 on P-384",
	AuthECDSASHA512P521: "ECDSA with SHA-512 on P-521", AuthNull: "NULL authentication", AuthDigitalSignature: "digital signature",
}

func (m AuthMethod) String() string { return named(authNames, "authentication method", m) }

// CertEncoding is the format of a certificate, RFC 7296 3.6.
type CertEncoding uint8

const (
	CertX509Signature CertEncoding = 4
	CertCRL           CertEncoding = 7
	CertHashURL       CertEncoding = 12
	CertHashURLBundle CertEncoding = 13
	CertRawPublicKey  CertEncoding = 15 // RFC 7670
)

var certNames = map[CertEncoding]string{
	CertX509Signature: "X.509 certificate", CertCRL: "CRL", CertHashURL: "hash and URL", CertHashURLBundle: "hash and URL of a bundle", CertRawPublicKey: "raw public key",
}

func (e CertEncoding) String() string { return named(certNames, "certificate encoding", e) }

// TSType is the kind of a traffic selector, RFC 7296 3.13.1.
type TSType uint8

const (
	TSIPv4Range TSType = 7
	TSIPv6Range TSType = 8
)

var tsNames = map[TSType]string{TSIPv4Range: "TS_IPV4_ADDR_RANGE", TSIPv6Range: "TS_IPV6_ADDR_RANGE"}

func (t TSType) String() string { return named(tsNames, "traffic selector type", t) }
