package isakmp

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Fragment is a piece of a whole message, its header included, as Cisco first sent it and strongSwan and libreswan do: the only payload of a
// message in clear whose header repeats that of the whole. No RFC describes it. Nothing authenticates a fragment: only the whole can be.
type Fragment struct {
	ID     uint16 // the same in all fragments of one message; some senders give all messages the same
	Number uint8  // counts from 1
	Last   bool
	Data   []byte
}

const lastFragment = 0x01 // flag

// FragmentOverhead is how many octets of a message with a fragment are not its piece.
const FragmentOverhead = HeaderLength + payloadHeaderLength + fragmentHeaderLength

func (p *Fragment) PayloadType() PayloadType { return PayloadFragment }

func (p *Fragment) String() string {
	if p.Last {
		return fmt.Sprintf("FRAG(%d, last)", p.Number)
	}
	return fmt.Sprintf("FRAG(%d)", p.Number)
}

func (p *Fragment) check() error {
	switch {
	case p.Number == 0 || p.Number > MaxFragments:
		return fmt.Errorf("fragment number %d, expected 1 to %d", p.Number, MaxFragments)
	case len(p.Data) == 0:
		return fmt.Errorf("no data in fragment %d", p.Number)
	}
	return nil
}

func (p *Fragment) read(body *cryptobyte.String) error {
	var flags uint8
	if !body.ReadUint16(&p.ID) || !body.ReadUint8(&p.Number) || !body.ReadUint8(&flags) {
		return errors.New("the payload ends within its fragment id, number and flags")
	}
	p.Last = flags&lastFragment != 0
	p.Data = rest(body)
	return nil
}

func (p *Fragment) write(body *cryptobyte.Builder) {
	var flags uint8
	if p.Last {
		flags = lastFragment
	}
	body.AddUint16(p.ID)
	body.AddUint8(p.Number)
	body.AddUint8(flags)
	body.AddBytes(p.Data)
}

// Split cuts a whole message into messages of at most size octets with one fragment each, or gives it back alone when it fits. The fragments of
// every exchange are sent as main mode with message ID zero: strongSwan takes them in no phase 2 exchange.
func Split(message []byte, id uint16, size int) ([][]byte, error) {
	if len(message) <= size {
		return [][]byte{message}, nil
	}
	h, err := ParseHeader(message)
	if err != nil {
		return nil, err
	}
	piece := size - FragmentOverhead
	if piece < 1 || (len(message)+piece-1)/piece > MaxFragments {
		return nil, fmt.Errorf("isakmp message: %d octets in fragments of %d, expected at most %d of them", len(message), size, MaxFragments)
	}
	var fragments [][]byte
	for rest := message; len(rest) > 0; {
		data := rest[:min(piece, len(rest))]
		rest = rest[len(data):]
		fragment := Message{Header: Header{Cookies: h.Cookies, Exchange: ExchangeMain},
			Payloads: []Payload{&Fragment{ID: id, Number: uint8(len(fragments) + 1), Last: len(rest) == 0, Data: data}}}
		b, err := fragment.Marshal()
		if err != nil {
			return nil, err
		}
		fragments = append(fragments, b)
	}
	return fragments, nil
}
