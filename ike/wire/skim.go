package wire

import (
	"encoding/binary"
	"errors"
)

// Skim is what the cookie of an IKE_SA_INIT request is judged by.
type Skim struct{ Nonce, Cookie []byte } // in the message; no cookie: nil

// ErrSkim says that a message has to be parsed to know more.
var ErrSkim = errors.New("not a plain IKE_SA_INIT request")

// SkimInit reads as little of an IKE_SA_INIT request as its cookie needs, and allocates nothing: a flood is turned away by it. A message that has anything else
// than the payloads of every such request (RFC 7296 1.2), once each where there is one, is left to Parse. What Parse would refuse inside a payload is not seen.
func SkimInit(message []byte) (s Skim, err error) {
	h, err := ParseHeader(message)
	if err != nil || h.Exchange != ExchangeIKESAInit || h.Response() || !h.FromInitiator() || h.InitiatorSPI == 0 || h.ResponderSPI != 0 || h.MessageID != 0 {
		return s, ErrSkim
	}
	const cookieHeader = payloadHeaderLength + 4 // protocol, SPI size and type before the data (RFC 7296 3.10)
	var sas, exchanges int
	rest := message[HeaderLength:]
	for kind, number := h.NextPayload, 0; kind != 0; number++ {
		if len(rest) < payloadHeaderLength || number == MaxPayloads {
			return s, ErrSkim
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < payloadHeaderLength || length > len(rest) {
			return s, ErrSkim
		}
		payload := rest[:length]
		switch kind {
		case PayloadSA:
			sas++
		case PayloadKE:
			exchanges++
		case PayloadNonce:
			if s.Nonce != nil || length < payloadHeaderLength+MinNonce || length > payloadHeaderLength+MaxNonce {
				return s, ErrSkim
			}
			s.Nonce = payload[payloadHeaderLength:]
		case PayloadNotify:
			if number == 0 && length >= cookieHeader && NotifyType(binary.BigEndian.Uint16(payload[6:])) == NotifyCookie {
				if payload[5] != 0 {
					return s, ErrSkim
				}
				s.Cookie = payload[cookieHeader:]
			}
		case PayloadVendorID, PayloadCertReq:
		default:
			return s, ErrSkim
		}
		kind, rest = PayloadType(rest[0]), rest[length:]
	}
	if len(rest) > 0 || sas != 1 || exchanges != 1 || s.Nonce == nil {
		return s, ErrSkim
	}
	return s, nil
}

// messageLengthAt is where the header has the length of the message (RFC 7296 3.1).
const messageLengthAt = 24

// WithoutCookie appends an IKE_SA_INIT request as it was before its sender put a cookie in front (RFC 7296 2.6).
func WithoutCookie(to, message []byte) []byte {
	h, err := ParseHeader(message)
	const cookieHeader = payloadHeaderLength + 4
	if err != nil || h.NextPayload != PayloadNotify || len(message) < HeaderLength+cookieHeader {
		return append(to, message...)
	}
	payload := message[HeaderLength:]
	length := int(binary.BigEndian.Uint16(payload[2:]))
	if length < cookieHeader || length > len(payload) || NotifyType(binary.BigEndian.Uint16(payload[6:])) != NotifyCookie {
		return append(to, message...)
	}
	header := len(to)
	to = append(append(to, message[:HeaderLength]...), payload[length:]...)
	to[header+nextPayloadAt] = payload[0]
	binary.BigEndian.PutUint32(to[header+messageLengthAt:], uint32(len(message)-length))
	return to
}

// WithCookie is an IKE_SA_INIT request with a cookie in front of its payloads.
func WithCookie(message, cookie []byte) []byte {
	const cookieHeader = payloadHeaderLength + 4
	with := append(make([]byte, 0, len(message)+cookieHeader+len(cookie)), message[:HeaderLength]...)
	with[nextPayloadAt] = byte(PayloadNotify)
	binary.BigEndian.PutUint32(with[messageLengthAt:], uint32(len(message)+cookieHeader+len(cookie)))
	with = append(with, message[nextPayloadAt], 0)
	with = binary.BigEndian.AppendUint16(with, uint16(cookieHeader+len(cookie)))
	with = binary.BigEndian.AppendUint16(append(with, 0, 0), uint16(NotifyCookie))
	return append(append(with, cookie...), message[HeaderLength:]...)
}
