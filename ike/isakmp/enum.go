package isakmp

import "fmt"

// named gives the name of an enumeration's value, or its kind and number when it has none: "payload 200".
func named[T ~uint8 | ~uint16 | ~uint32](names map[T]string, kind string, value T) string {
	if name, ok := names[value]; ok {
		return name
	}
	return fmt.Sprintf("%s %d", kind, uint64(value))
}

// ExchangeType is the kind of an exchange, RFC 2408 3.1 and RFC 2409 appendix A.
type ExchangeType uint8

const (
	ExchangeBase          ExchangeType = 1
	ExchangeMain          ExchangeType = 2 // Identity Protection, which RFC 2409 calls main mode
	ExchangeAuthOnly      ExchangeType = 3
	ExchangeAggressive    ExchangeType = 4
	ExchangeInformational ExchangeType = 5
	ExchangeTransaction   ExchangeType = 6 // mode configuration and XAUTH, in drafts only
	ExchangeQuick         ExchangeType = 32
	ExchangeNewGroup      ExchangeType = 33
)

var exchangeNames = map[ExchangeType]string{
	ExchangeBase: "base exchange", ExchangeMain: "main mode", ExchangeAuthOnly: "authentication only exchange", ExchangeAggressive: "aggressive mode",
	ExchangeInformational: "informational exchange", ExchangeTransaction: "transaction exchange", ExchangeQuick: "quick mode", ExchangeNewGroup: "new group mode",
}

func (t ExchangeType) String() string { return named(exchangeNames, "exchange", t) }

// PayloadType is the type of a payload, RFC 2408 3.1.
type PayloadType uint8

const (
	PayloadNone         PayloadType = 0
	PayloadSA           PayloadType = 1
	PayloadProposal     PayloadType = 2 // inside SA only
	PayloadTransform    PayloadType = 3 // inside a proposal only
	PayloadKE           PayloadType = 4
	PayloadID           PayloadType = 5
	PayloadCert         PayloadType = 6
	PayloadCertReq      PayloadType = 7
	PayloadHash         PayloadType = 8
	PayloadSig          PayloadType = 9
	PayloadNonce        PayloadType = 10
	PayloadNotify       PayloadType = 11
	PayloadDelete       PayloadType = 12
	PayloadVendorID     PayloadType = 13
	PayloadAttributes   PayloadType = 14 // of the transaction exchange
	PayloadNATD         PayloadType = 20 // RFC 3947 3.2
	PayloadNATOA        PayloadType = 21 // RFC 3947 5.2
	PayloadNATDDraft    PayloadType = 130
	PayloadNATOADraft   PayloadType = 131
	PayloadFragment     PayloadType = 132
	firstPrivatePayload PayloadType = 128 // from here on without a meaning of its own (RFC 2408 3.1)
)

// The names are RFC 2409's notation (section 3.2), which operators know from traces.
var payloadNames = map[PayloadType]string{
	PayloadNone: "none", PayloadSA: "SA", PayloadProposal: "P", PayloadTransform: "T", PayloadKE: "KE", PayloadID: "ID", PayloadCert: "CERT",
	PayloadCertReq: "CERTREQ", PayloadHash: "HASH", PayloadSig: "SIG", PayloadNonce: "NONCE", PayloadNotify: "N", PayloadDelete: "D", PayloadVendorID: "V",
	PayloadAttributes: "ATTR", PayloadNATD: "NAT-D", PayloadNATOA: "NAT-OA", PayloadNATDDraft: "NAT-D (draft)", PayloadNATOADraft: "NAT-OA (draft)",
	PayloadFragment: "FRAG",
}

func (t PayloadType) String() string { return named(payloadNames, "payload", t) }

// DOI is a domain of interpretation.
type DOI uint32

const (
	DOIISAKMP DOI = 0 // RFC 2408: only notifications and deletes that are about ISAKMP itself may use it
	DOIIPsec  DOI = 1 // RFC 2407
)

// situationIdentityOnly is the only situation without labels, RFC 2407 4.2.1.
const situationIdentityOnly = 1

// ProtocolID names a protocol in proposals, notifications and deletes, RFC 2407 4.4.1.
type ProtocolID uint8

const (
	ProtocolNone   ProtocolID = 0 // a notification that names no SA
	ProtocolISAKMP ProtocolID = 1
	ProtocolAH     ProtocolID = 2
	ProtocolESP    ProtocolID = 3
	ProtocolIPCOMP ProtocolID = 4
)

var protocolNames = map[ProtocolID]string{ProtocolNone: "none", ProtocolISAKMP: "ISAKMP", ProtocolAH: "AH", ProtocolESP: "ESP", ProtocolIPCOMP: "IPCOMP"}

func (p ProtocolID) String() string { return named(protocolNames, "protocol", p) }

// IDType is the kind of an identity, RFC 2407 4.6.2.1.
type IDType uint8

const (
	IDIPv4Address IDType = 1
	IDFQDN        IDType = 2
	IDUserFQDN    IDType = 3
	IDIPv4Subnet  IDType = 4
	IDIPv6Address IDType = 5
	IDIPv6Subnet  IDType = 6
	IDIPv4Range   IDType = 7
	IDIPv6Range   IDType = 8
	IDDERASN1DN   IDType = 9
	IDDERASN1GN   IDType = 10
	IDKeyID       IDType = 11
)

var idNames = map[IDType]string{
	IDIPv4Address: "ID_IPV4_ADDR", IDFQDN: "ID_FQDN", IDUserFQDN: "ID_USER_FQDN", IDIPv4Subnet: "ID_IPV4_ADDR_SUBNET", IDIPv6Address: "ID_IPV6_ADDR",
	IDIPv6Subnet: "ID_IPV6_ADDR_SUBNET", IDIPv4Range: "ID_IPV4_ADDR_RANGE", IDIPv6Range: "ID_IPV6_ADDR_RANGE", IDDERASN1DN: "ID_DER_ASN1_DN",
	IDDERASN1GN: "ID_DER_ASN1_GN", IDKeyID: "ID_KEY_ID",
}

func (t IDType) String() string { return named(idNames, "ID type", t) }

// CertEncoding is the format of a certificate, RFC 2408 3.9.
type CertEncoding uint8

const (
	CertPKCS7         CertEncoding = 1
	CertPGP           CertEncoding = 2
	CertDNSKey        CertEncoding = 3
	CertX509Signature CertEncoding = 4
	CertX509Exchange  CertEncoding = 5
	CertKerberos      CertEncoding = 6
	CertCRL           CertEncoding = 7
	CertARL           CertEncoding = 8
	CertSPKI          CertEncoding = 9
	CertX509Attribute CertEncoding = 10
)

var certNames = map[CertEncoding]string{
	CertPKCS7: "PKCS #7 wrapped X.509 certificate", CertPGP: "PGP certificate", CertDNSKey: "DNS signed key", CertX509Signature: "X.509 certificate for signatures",
	CertX509Exchange: "X.509 certificate for key exchange", CertKerberos: "Kerberos tokens", CertCRL: "CRL", CertARL: "ARL", CertSPKI: "SPKI certificate",
	CertX509Attribute: "X.509 attribute certificate",
}

func (e CertEncoding) String() string { return named(certNames, "certificate encoding", e) }
