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
	raw           []byte         // the whole datagram, for a message received in one
	digest        digest         // of the datagram, or of that with the first fragment, for a message received
	longest       int            // of the datagrams with its fragments, in octets; 0 when it came in one
	after         []func()       // what is to be done once it has been sent, for a message built

	// The chain of payloads as it stands inside SK, in one piece however many fragments carried it, and the type of its first: what an authentication
	// of the whole message covers, after what stands before them (RFC 9242 3.3.2). Of a message built they are there from seal on.
	first wire.PayloadType
	plain []byte
	clear []byte // what came before them, of a message received; in fragments that of the first
}

// datagram is where it came from, without content.
func (m *message) datagram() Datagram { return Datagram{Local: m.local, Remote: m.remote} }

func (m *message) add(p ...wire.Payload) { m.Payloads = append(m.Payloads, p...) }

// then orders something for the moment after the message has left, for the first time: the peer can know of the message only then.
func (m *message) then(do func()) { m.after = append(m.after, do) }

func (m *message) notify(t wire.NotifyType) *wire.Notify { return wire.FindNotify(m.Payloads, t) }

// unauthenticated is a datagram that changes nothing, with the reason to count it under.
type unauthenticated struct {
	reason Reason
	err    error
}

func (u *unauthenticated) Error() string { return fmt.Sprintf("%s: %v", u.reason, u.err) }
func (u *unauthenticated) Unwrap() error { return u.err }

// open reads a datagram for this IKE SA down to its payloads. An *unauthenticated error means that anybody may have sent it, errIncomplete that it
// is a fragment of a message that is not there yet; any other error that the peer sent the message, which comes with it, and broke a rule.
func (sa *ikeSA) open(d Datagram) (*message, error) {
	outer, err := wire.Parse(d.Payload)
	if err == nil {
		err = outer.CheckOuter()
	}
	switch {
	case outer != nil && !wire.Protected(outer.Payloads) && outer.Exchange != wire.ExchangeIKESAInit:
		sa.hint(outer)
		return nil, &unauthenticated{DropCleartext, errors.New("no SK payload")}
	case err != nil:
		return nil, &unauthenticated{malformed(err), err}
	case outer.Exchange == wire.ExchangeIKESAInit:
		if err := wire.Check(outer.Exchange, outer.Response(), outer.Payloads); err != nil {
			return nil, &unauthenticated{malformed(err), err}
		}
		return &message{Message: *outer, sa: sa, local: d.Local, remote: d.Remote, raw: d.Payload, digest: digestOf(d)}, nil
	case sa.keys == nil:
		return nil, &unauthenticated{DropExchange, errors.New("no keys yet")}
	}
	m, err := sa.decrypt(d, outer)
	if err != nil {
		return nil, err
	}
	if m.Payloads, err = wire.ParsePayloads(m.first, m.plain); err != nil {
		return m, err
	}
	return m, wire.Check(m.Exchange, m.Response(), m.Payloads)
}

// decrypt gives a message whose payloads are still to be read.
func (sa *ikeSA) decrypt(d Datagram, outer *wire.Message) (*message, error) {
	if f := wire.Find[*wire.Fragment](outer.Payloads); f != nil {
		return sa.collect(d, outer, f)
	}
	sealed := wire.Find[*wire.Encrypted](outer.Payloads)
	plain, err := sa.keys.in.Open(sealed.AAD, sealed.Body)
	if err != nil {
		return nil, &unauthenticated{DropIntegrity, err}
	}
	sa.forget(sa.tasks.parts.of(outer.Response())) // it came in one piece after all
	m := &message{sa: sa, local: d.Local, remote: d.Remote, raw: d.Payload, digest: digestOf(d), first: sealed.FirstPayload, plain: plain, clear: sealed.AAD}
	m.Header = outer.Header
	return m, nil
}

func malformed(err error) Reason {
	var critical *wire.CriticalError
	if errors.As(err, &critical) {
		return DropCritical
	}
	return DropMalformed
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
