package ikev1

import (
	"bytes"
	"slices"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// maxCertificates bounds a peer's chain, as IKEv2 does. Two intermediates are common, and a peer may send a cross-signed one beside them.
const maxCertificates = 8

// certificatesOf takes the certificates out of message 5 or 6 of main mode: the first is the one that SIG is checked with, the rest may lead to an
// authority. What is no certificate (a CRL, which we fetch ourselves) is passed over.
func certificatesOf(payloads []isakmp.Payload) ([][]byte, error) {
	var list [][]byte
	all := isakmp.FindAll[*isakmp.Cert](payloads)
	for _, p := range all {
		if p.Encoding == isakmp.CertX509Signature && !slices.ContainsFunc(list, func(der []byte) bool { return bytes.Equal(der, p.Data) }) {
			list = append(list, p.Data)
		}
	}
	switch {
	case len(all) == 0:
		return nil, failf(ike.CertMissing, "peer signs and sent no certificate, expected its own and the intermediates up to an authority that we trust")
	case len(list) == 0:
		return nil, failf(ike.CertForm, "peer sent %v, expected an %v", all[0].Encoding, isakmp.CertX509Signature)
	case len(list) > maxCertificates:
		return nil, failf(ike.CertTooMany, "peer sent %d certificates, expected at most %d", len(list), maxCertificates)
	}
	return list, nil
}

// certificates are those that we sign with. They go to every peer that we sign for, whether it has asked with CERTREQ or not, as in IKEv2.
func certificates(p *ike.Peer) (list []isakmp.Payload) {
	if p.LocalAuth != ike.AuthSignature {
		return nil
	}
	for _, der := range p.Credential.Certificates {
		list = append(list, &isakmp.Cert{Encoding: isakmp.CertX509Signature, Data: der})
	}
	return list
}

// certificateRequest asks the peer for its certificate, by whichever authority: IKEv1 would have the names of those that we trust (RFC 2408 3.10),
// in clear, and a peer that has one certificate sends it anyway. None when the method has none.
func certificateRequest(method isakmp.AuthMethod) []isakmp.Payload {
	if !bySignature(method) {
		return nil
	}
	return []isakmp.Payload{&isakmp.CertReq{Encoding: isakmp.CertX509Signature}}
}
