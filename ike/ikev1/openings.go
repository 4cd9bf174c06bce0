package ikev1

import (
	"bytes"
	"hash/maphash"

	"sallyport/ike"
)

// openings keeps what messages 1 of main modes say that were answered in a siege: those heard last, each once, whoever sends it how often. Its zero value has none.
type openings struct {
	list   []keptOpening            // a ring in the order of time, by links
	byHash map[uint64]openingNumber // of where it comes from and of its octets
	seed   maphash.Seed
	newest openingNumber
}

// keptOpening is message 1 between two addresses, and message 2. In place of both cookies of either there is anything.
type keptOpening struct {
	path         path
	message      []byte
	answer       []byte
	hash         uint64
	older, newer openingNumber
}

// openingNumber is the place of an opening.
type openingNumber uint16

const (
	maxOpenings = 2048
	maxOpening  = 2048 // octets of one; longer ones are not kept

	noOpening       openingNumber = 0xffff
	familiarOpening openingNumber = 0xfffe // that of the last peer which was let in (Engine.familiar)
)

// find looks for the opening that a message is, and counts it as heard now.
func (o *openings) find(d ike.Datagram) openingNumber {
	if len(o.list) == 0 {
		return noOpening
	}
	number, known := o.byHash[o.hash(d)]
	if !known || o.list[number].path != (path{d.Local.Addr(), d.Remote.Addr()}) || !bytes.Equal(o.list[number].message[initiatorCookie:], d.Payload[initiatorCookie:]) {
		return noOpening
	}
	o.renew(number)
	return number
}

// keep takes an opening that find has not found, in the place of the one that was not heard for longest.
func (o *openings) keep(d ike.Datagram, answer []byte) openingNumber {
	if len(d.Payload) > maxOpening {
		return noOpening
	}
	if o.list == nil {
		o.byHash, o.seed = map[uint64]openingNumber{}, maphash.MakeSeed()
		o.list = make([]keptOpening, 0, maxOpenings)
	}
	number := openingNumber(len(o.list))
	if len(o.list) < maxOpenings {
		o.add()
	} else {
		number = o.list[o.newest].newer // in a ring the oldest comes after the newest
		delete(o.byHash, o.list[number].hash)
		o.newest = number
	}
	p := &o.list[number]
	if other, taken := o.byHash[o.hash(d)]; taken {
		o.list[other].hash = 0 // it is not found any more
	}
	p.path, p.hash = path{d.Local.Addr(), d.Remote.Addr()}, o.hash(d)
	p.message, p.answer = append(p.message[:0], d.Payload...), append(p.answer[:0], answer...)
	o.byHash[p.hash] = number
	return number
}

// add makes a place, which is the newest.
func (o *openings) add() {
	number := openingNumber(len(o.list))
	if number == 0 {
		o.list = append(o.list, keptOpening{})
		return
	}
	oldest := o.list[o.newest].newer
	o.list = append(o.list, keptOpening{older: o.newest, newer: oldest})
	o.list[o.newest].newer, o.list[oldest].older = number, number
	o.newest = number
}

// renew makes an opening the newest.
func (o *openings) renew(number openingNumber) {
	if number == o.newest {
		return
	}
	p := &o.list[number]
	o.list[p.older].newer, o.list[p.newer].older = p.newer, p.older
	oldest := o.list[o.newest].newer
	p.older, p.newer = o.newest, oldest
	o.list[o.newest].newer, o.list[oldest].older = number, number
	o.newest = number
}

// at is the message of an opening between the addresses of a datagram; nil: there is none of that number.
func (o *openings) at(number openingNumber, d ike.Datagram) []byte {
	if int(number) >= len(o.list) || o.list[number].path != (path{d.Local.Addr(), d.Remote.Addr()}) {
		return nil
	}
	return o.list[number].message
}

func (o *openings) hash(d ike.Datagram) uint64 {
	var h maphash.Hash
	h.SetSeed(o.seed)
	remote := d.Remote.Addr().As16()
	h.Write(remote[:])
	h.Write(d.Payload[initiatorCookie:])
	return h.Sum64()
}
