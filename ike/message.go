package ike

import (
	"errors"
	"fmt"
	"net/netip"

	"sallyport/ike/wire"
)

// message is an IKE message between the codec and the tasks.
type message struct {
	wire.Message
	sa            *ikeSA
	local, remote netip.AddrPort // where it arrived, for a message received
	raw           []byte         // the whole datagram, for a message received
	after         []func()       // what is to be done once it has been sent, for a message built
}

func (m *message) add(p ...wire.Payload) { m.Payloads = append(m.Payloads, p...) }

// then orders something for the moment after the message has left: the peer can know of the message only then.
func (m *message) then(do func()) { m.after = append(m.after, do) }

func (m *message) notify(t wire.NotifyType) *wire.Notify { return wire.FindNotify(m.Payloads, t) }

// unauthenticated is a datagram that changes nothing, with the reason to count it under.
type unauthenticated struct {
	reason Reason
	err    error
}

func (u *unauthenticated) Error() string { return fmt.Sprintf("%s: %v", u.reason, u.err) }
func (u *unauthenticated) Unwrap() error { return u.err }

// open reads a datagram for this IKE SA down to its payloads. An *unauthenticated error means that anybody may have sent it; any other
// error that the peer did, and broke a rule.
func (sa *ikeSA) open(d Datagram) (*message, error) {
	outer, err := wire.Parse(d.Payload)
	if err == nil {
		err = outer.CheckOuter()
	}
	m := &message{sa: sa, local: d.Local, remote: d.Remote, raw: d.Payload}
	switch {
	case outer != nil && wire.Find[*wire.Encrypted](outer.Payloads) == nil && outer.Exchange != wire.ExchangeIKESAInit:
		sa.hint(outer)
		return nil, &unauthenticated{DropCleartext, errors.New("no SK payload")}
	case err != nil:
		return nil, &unauthenticated{malformed(err), err}
	case outer.Exchange == wire.ExchangeIKESAInit:
		m.Message = *outer
		if err := wire.Check(m.Exchange, m.Response(), m.Payloads); err != nil {
			return nil, &unauthenticated{malformed(err), err}
		}
		return m, nil
	case sa.keys == nil:
		return nil, &unauthenticated{DropExchange, errors.New("no keys yet")}
	}
	sealed := wire.Find[*wire.Encrypted](outer.Payloads)
	plain, err := sa.keys.in.Open(sealed.AAD, sealed.Body)
	if err != nil {
		return nil, &unauthenticated{DropIntegrity, err}
	}
	m.Header = outer.Header
	if m.Payloads, err = wire.ParsePayloads(sealed.FirstPayload, plain); err != nil {
		return nil, err
	}
	return m, wire.Check(m.Exchange, m.Response(), m.Payloads)
}

func malformed(err error) Reason {
	var critical *wire.CriticalError
	if errors.As(err, &critical) {
		return DropCritical
	}
	return DropMalformed
}

// seal turns a message of ours into a datagram: IKE_SA_INIT in clear, all else inside SK (RFC 7296 3.14).
func (sa *ikeSA) seal(m *message) ([]byte, error) {
	if m.Exchange == wire.ExchangeIKESAInit {
		return m.Marshal()
	}
	first, plain, err := wire.MarshalPayloads(m.Payloads)
	if err != nil {
		return nil, err
	}
	prefix, err := wire.EncryptedPrefix(m.Header, first, len(plain)+sa.keys.out.Overhead(len(plain)))
	if err != nil {
		return nil, err
	}
	return sa.keys.out.Seal(prefix, prefix, plain, sa.engine.cfg.Random)
}

// header starts a message of ours on this IKE SA.
func (sa *ikeSA) header(exchange wire.ExchangeType, id uint32, response bool) wire.Header {
	h := wire.Header{Exchange: exchange, MessageID: id}
	h.InitiatorSPI, h.ResponderSPI = sa.spis()
	if sa.role == RoleInitiator {
		h.Flags |= wire.FlagInitiator
	}
	if response {
		h.Flags |= wire.FlagResponse
	}
	return h
}

// answerTo starts a response outside any IKE SA: all identifiers are those of the request (RFC 7296 2.21.4).
func answerTo(h wire.Header) wire.Header {
	h.Flags = h.Flags&wire.FlagInitiator ^ wire.FlagInitiator | wire.FlagResponse
	return h
}
