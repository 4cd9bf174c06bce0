package ikev1

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// digest identifies a message by its octets, to tell one that was sent again, which is identical, from another. Where it came from is left out: a
// NAT may change that between the two.
type digest [sha256.Size]byte

func digestOf(d ike.Datagram) digest { return sha256.Sum256(d.Payload) }

// message is a message of the peer's, or of a stranger's until accept.
type message struct {
	isakmp.Message // with the decrypted payloads in place
	kind           isakmp.Kind
	chain          *isakmp.Chain // of an encrypted one
	next           []byte        // its last block, the IV of what follows it
	local, remote  netip.AddrPort
	digest         digest
}

// carries compares the HASH of a message with what only the peer can have computed, in constant time.
func (m *message) carries(hash []byte) error {
	sent := isakmp.Find[*isakmp.Hash](m.Payloads)
	if sent == nil || !hmac.Equal(sent.Data, hash) {
		return &unauthenticated{ike.DropIntegrity, errors.New("the HASH payload is not the peer's")}
	}
	return nil
}

// unauthenticated is a datagram that changes nothing, with the reason to count it under.
type unauthenticated struct {
	reason ike.Reason
	err    error
}

func (u *unauthenticated) Error() string { return fmt.Sprintf("%s: %v", u.reason, u.err) }
func (u *unauthenticated) Unwrap() error { return u.err }

// asFailure gives any error of a negotiation a Reason.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{reason: ike.FailInternal, detail: err.Error()}
}

// failureOf translates an error notification of the peer's.
func failureOf(n *isakmp.Notify) *failure {
	reason := ike.FailPeer
	switch n.Type {
	case isakmp.NotifyNoProposalChosen, isakmp.NotifyBadProposalSyntax, isakmp.NotifyAttributesNotSupported, isakmp.NotifyInvalidTransformID:
		reason = ike.FailProposal
	case isakmp.NotifyInvalidIDInformation:
		reason = ike.FailSelectors
	case isakmp.NotifyInvalidKeyInformation:
		reason = ike.FailKE
	case isakmp.NotifyAuthenticationFailed, isakmp.NotifyInvalidHashInformation, isakmp.NotifyInvalidSignature:
		reason = ike.FailAuthentication
	case isakmp.NotifyPayloadMalformed:
		reason = ike.FailSyntax
	}
	return &failure{reason: reason, detail: fmt.Sprintf("peer answered %v", n.Type), told: true, word: n.Type.String()}
}

// answer is the notification that tells the peer of a failure of ours; 0: none does.
func (f *failure) answer() isakmp.NotifyType {
	switch {
	case f.told:
		return 0
	case f.reason == ike.FailProposal, f.reason == ike.FailNoAdditionalSAs, f.reason == ike.FailTemporary:
		return isakmp.NotifyNoProposalChosen
	case f.reason == ike.FailSelectors:
		return isakmp.NotifyInvalidIDInformation
	case f.reason == ike.FailKE:
		return isakmp.NotifyInvalidKeyInformation
	case f.reason.Authentication():
		return isakmp.NotifyAuthenticationFailed
	}
	return 0
}

// parse reads a message in clear, or an encrypted one down to its ciphertext.
func parse(d ike.Datagram, of digest) (*message, error) {
	outer, err := isakmp.Parse(d.Payload)
	if err != nil {
		return nil, &unauthenticated{ike.DropMalformed, err}
	}
	m := &message{Message: *outer, local: d.Local, remote: d.Remote, digest: of}
	if outer.Encrypted() {
		return m, nil
	}
	return m, m.check()
}

// decrypt reads the payloads of an encrypted message. What comes out of it is anybody's until its HASH is found right.
func (m *message) decrypt(k *phase1Keys, iv []byte) error {
	plain, next, err := k.cipher.Decrypt(iv, m.Ciphertext)
	if err != nil {
		return &unauthenticated{ike.DropIntegrity, err}
	}
	if m.chain, err = isakmp.ParsePayloads(m.NextPayload, plain); err != nil {
		return &unauthenticated{ike.DropIntegrity, err}
	}
	m.Payloads, m.next = m.chain.Payloads, next
	return m.check()
}

func (m *message) check() (err error) {
	if m.kind, err = isakmp.Check(m.Header, m.Payloads); err != nil {
		return &unauthenticated{ike.DropMalformed, err}
	}
	return nil
}

// seal writes a message of ours. With keys it is encrypted, and with a hash function it begins with the HASH of what follows; iv moves on.
func (sa *isakmpSA) seal(h isakmp.Header, iv *[]byte, payloads []isakmp.Payload, hash func(rest []byte) []byte) ([]byte, error) {
	sa.observe(&isakmp.Message{Header: h, Payloads: payloads}, true, sa.local, sa.remote)
	if *iv == nil {
		m := isakmp.Message{Header: h, Payloads: payloads}
		return m.Marshal()
	}
	first, plain, err := isakmp.MarshalPayloads(payloads)
	if err == nil && hash != nil {
		plain, err = isakmp.PrependHash(hash(plain), first, plain)
		first = isakmp.PayloadHash
	}
	if err != nil {
		return nil, err
	}
	ciphertext, last := sa.keys.cipher.Encrypt(*iv, plain)
	b, err := h.Prefix(first, len(ciphertext))
	if err != nil {
		return nil, err
	}
	*iv = last
	return append(b, ciphertext...), nil
}
