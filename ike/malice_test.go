package ike

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// rewrite opens a message that an end has sent, lets the chain of payloads inside be changed, and seals it again by the end's own keys: what a peer
// could have sent that holds the keys and no rule. A message in clear, or in fragments, stays as it is.
func (n *end) rewrite(datagram []byte, change func(h wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte)) []byte {
	m, err := wire.Parse(datagram)
	if err != nil {
		return datagram
	}
	inside := wire.Find[*wire.Encrypted](m.Payloads)
	sa := n.sender(m.Header)
	if inside == nil || sa == nil || sa.keys == nil {
		return datagram
	}
	keys := sa.keys
	plain, err := keys.out.Open(inside.AAD, inside.Body)
	if before := sa.intermediate.previous; err != nil && before != nil { // an answer of IKE_INTERMEDIATE
		keys = before
		plain, err = keys.out.Open(inside.AAD, inside.Body)
	}
	if err != nil {
		return datagram
	}
	first, plain := change(m.Header, inside.FirstPayload, plain)
	b, err := sa.sealWhole(&sealed{header: m.Header, first: first, plain: plain, keys: keys})
	if err != nil {
		return datagram // too long to be sent
	}
	return b
}

// sender is the IKE SA that a message of this end belongs to.
func (n *end) sender(h wire.Header) *ikeSA {
	if h.FromInitiator() {
		return n.engine.sas[h.InitiatorSPI]
	}
	return n.engine.sas[h.ResponderSPI]
}

// aPayload is one of a chain, with its generic header.
type aPayload struct {
	kind     wire.PayloadType
	critical bool
	body     []byte
}

// chainOf cuts a chain of payloads, as our own end has made it.
func chainOf(first wire.PayloadType, plain []byte) (list []aPayload) {
	for next := first; len(plain) >= 4; {
		n := int(binary.BigEndian.Uint16(plain[2:]))
		list = append(list, aPayload{kind: next, body: plain[4:n]})
		next, plain = wire.PayloadType(plain[0]), plain[n:]
	}
	return list
}

// written makes a chain of what need not be one.
func written(list []aPayload) (first wire.PayloadType, b []byte) {
	for i, p := range list {
		var next wire.PayloadType
		var flags byte
		if i+1 < len(list) {
			next = list[i+1].kind
		}
		if p.critical {
			flags = 0x80
		}
		b = append(b, byte(next), flags)
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(p.body)))
		b = append(b, p.body...)
	}
	if len(list) > 0 {
		first = list[0].kind
	}
	return first, b
}

// reaction is how a request that was changed may be answered.
type reaction int

const (
	asIfGood    reaction = iota // as if nothing had been changed
	unsupported                 // UNSUPPORTED_CRITICAL_PAYLOAD, and the IKE SA stays (RFC 7296 2.5)
	invalid                     // INVALID_SYNTAX, and the IKE SA ends at both ends (RFC 7296 2.21.3)
	anyReaction                 // what it is now may be right, or refused for another reason
)

// mutation is one way to break a chain of payloads.
type mutation struct {
	name     string
	reaction reaction
	first    wire.PayloadType
	plain    []byte
}

// mutations of a chain: cut at every octet, each payload cut at every octet, repeated, left out, of an absurd length, with others before it and behind it.
func mutations(first wire.PayloadType, plain []byte) (list []mutation) {
	add := func(name string, r reaction, chain []aPayload) {
		first, b := written(chain)
		list = append(list, mutation{name, r, first, b})
	}
	for n := range plain {
		list = append(list, mutation{fmt.Sprintf("cut after %d octets", n), invalid, first, plain[:n]})
	}
	list = append(list, mutation{"an octet more", invalid, first, append(slices.Clip(plain), 0)})
	chain := chainOf(first, plain)
	reversed := slices.Clone(chain)
	slices.Reverse(reversed)
	add("in reverse order", asIfGood, reversed)
	for i, p := range chain {
		around := func(what ...aPayload) []aPayload { return slices.Concat(chain[:i], what, chain[i+1:]) }
		name := fmt.Sprintf("payload %d (%v) ", i+1, p.kind)
		add(name+"left out", anyReaction, around())
		add(name+"twice", anyReaction, around(p, p))
		add(name+"65 times", invalid, around(slices.Repeat([]aPayload{p}, 65)...))
		if p.kind != wire.PayloadNonce { // a nonce of another length is as good as any, and gives the two ends different keys
			add(name+"longer", anyReaction, around(aPayload{kind: p.kind, body: append(slices.Clip(p.body), make([]byte, 300)...)}))
		}
		add(name+"oversized", anyReaction, around(aPayload{kind: p.kind, body: make([]byte, 15000)}))
		add(name+"after an unknown one", asIfGood, around(aPayload{kind: 200, body: []byte("x")}, p))
		add(name+"after an unknown critical one", unsupported, around(aPayload{kind: 200, critical: true}, p))
		add(name+"after SK", invalid, around(aPayload{kind: wire.PayloadEncrypted, body: []byte("x")}, p))
		add(name+"critical", asIfGood, around(aPayload{kind: p.kind, critical: true, body: p.body}))
		for n := range p.body {
			if p.kind == wire.PayloadNonce && n >= 16 {
				break
			}
			add(fmt.Sprintf("%sof %d octets", name, n), anyReaction, around(aPayload{kind: p.kind, body: p.body[:n]}))
		}
	}
	return list
}

// Every exchange, its request and its response broken in every way by a peer that holds the keys. What is asked for happens, or the RFC's notification
// refuses it; when the peer is well again so is the tunnel, and nothing is left.
func TestBrokenInside(t *testing.T) {
	for name, c := range map[string]struct {
		first  bool // in the first exchanges
		begin  func(*link)
		target string // the message to break, as expectWire prints it
	}{
		"IKE_AUTH request":     {true, func(*link) {}, "a: IKE_AUTH request 1"},
		"IKE_AUTH response":    {true, func(*link) {}, "b: IKE_AUTH response 1"},
		"rekey of the child":   {false, func(l *link) { l.a.rekey(rekeyChild) }, "a: CREATE_CHILD_SA request 2"},
		"its response":         {false, func(l *link) { l.a.rekey(rekeyChild) }, "b: CREATE_CHILD_SA response 2"},
		"rekey of the IKE SA":  {false, func(l *link) { l.a.rekey(rekeyIKE) }, "a: CREATE_CHILD_SA request 2"},
		"the response to that": {false, func(l *link) { l.a.rekey(rekeyIKE) }, "b: CREATE_CHILD_SA response 2"},
		"delete":               {false, func(l *link) { l.a.expire() }, "a: INFORMATIONAL request 2"},
		"response to delete":   {false, func(l *link) { l.a.expire() }, "b: INFORMATIONAL response 2"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, more := 0, true; more; i++ {
				l := join(t, nil, nil)
				b := l.breakOne(c.target, i)
				l.begin()
				if !c.first {
					l.run()
				}
				c.begin(l)
				l.run()
				m, request := b.mutation, c.target[0] == 'a'
				more = b.more
				switch failed := l.b.count(Failed, FailSyntax); {
				case !b.done:
					t.Fatal("the message to break never came")
				case !request || m.reaction == anyReaction:
				case m.reaction == asIfGood && l.a.count(Failed, "")+l.b.count(Failed, "") != 0:
					t.Errorf("refused, expected to be understood")
				case m.reaction == invalid && failed != 1:
					t.Errorf("%d times INVALID_SYNTAX, expected 1", failed)
				case m.reaction == unsupported && l.b.count(Failed, FailCritical) == 0 && len(l.b.engine.sas) == 0 && !c.first:
					t.Errorf("the IKE SA ended over an unknown critical payload")
				}
				l.advance(3 * time.Minute)
				l.run()
				outcome{children: []string{"net"}, mayLose: true}.check(l)
				if t.Failed() {
					t.Fatalf("%s\na:\n%sb:\n%s", m.name, l.a.story(), l.b.story())
				}
			}
		})
	}
}

// A breakage is one message, broken in one of the ways that there are.
type breakage struct {
	mutation
	done, more bool // it was sent, and there are ways after this one
}

// breakOne breaks the first message of that name, as expectWire prints it, in its i-th way.
func (l *link) breakOne(target string, i int) *breakage {
	b := &breakage{}
	l.twist = func(from *end, payload []byte) []byte {
		h, err := wire.ParseHeader(payload)
		if b.done || err != nil || l.nameOf(from, h) != target {
			return payload
		}
		b.done = true
		return from.rewrite(payload, func(_ wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte) {
			list := mutations(first, plain)
			b.mutation, b.more = list[i], i+1 < len(list)
			return b.first, b.plain
		})
	}
	return b
}

// nameOf is a message as expectWire prints it.
func (l *link) nameOf(from *end, h wire.Header) string {
	kind := "request"
	if h.Response() {
		kind = "response"
	}
	return fmt.Sprintf("%s: %v %s %d", from.name, h.Exchange, kind, h.MessageID)
}

// everyNotify is each type that has a name, and some that have none.
func everyNotify() (list []wire.NotifyType) {
	for t := range wire.NotifyType(48) {
		list = append(list, t)
	}
	for t := wire.NotifyInitialContact; t < wire.NotifyInitialContact+60; t++ {
		list = append(list, t)
	}
	return append(list, 8191, 8192, 16383, 40959, 40960, 65535)
}

// A peer that holds the keys answers with each notification, in place of its answer or beside it, once or as long as it can: every exchange then ends
// as its rules have it, nothing is left over, and when the peer is well again so is the tunnel.
func TestEveryNotify(t *testing.T) {
	beside := func(n aPayload) func([]aPayload) []aPayload {
		return func(chain []aPayload) []aPayload { return append(slices.Clip(chain), n) }
	}
	instead := func(n aPayload) func([]aPayload) []aPayload {
		return func([]aPayload) []aPayload { return []aPayload{n} }
	}
	for name, begin := range map[string]func(*link){
		"first exchanges":     func(l *link) { l.begin() },
		"rekey of the child":  func(l *link) { l.begin(); l.run(); l.a.rekey(rekeyChild) },
		"rekey of the IKE SA": func(l *link) { l.begin(); l.run(); l.a.rekey(rekeyIKE) },
		"delete":              func(l *link) { l.begin(); l.run(); l.a.expire() },
		"authentication anew": func(l *link) { l.begin(); l.run(); l.a.reauth() },
	} {
		t.Run(name, func(t *testing.T) {
			for i, kind := range everyNotify() {
				data := [][]byte{nil, {0, 19}, {0xb0, 0, 0, 1}}[i%3]
				body := append(binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(kind)), data...)
				n := aPayload{kind: wire.PayloadNotify, body: body}
				for way, change := range map[string]func([]aPayload) []aPayload{"beside": beside(n), "instead": instead(n)} {
					always := (i%2 == 0) == (way == "beside")
					l := join(t, nil, nil)
					evil := false
					l.twist = func(from *end, payload []byte) []byte {
						h, err := wire.ParseHeader(payload)
						if !evil || from != l.b || err != nil || !h.Response() {
							return payload
						}
						evil = always
						return from.rewrite(payload, func(_ wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte) {
							return written(change(chainOf(first, plain)))
						})
					}
					if name != "first exchanges" {
						begin(l)
						evil = true
					} else {
						evil = true
						begin(l)
					}
					l.advance(time.Minute)
					evil, l.twist = false, nil
					l.a.step(Initiate{Peer: "b", Child: "net"})
					l.advance(3 * time.Minute)
					l.run()
					outcome{children: []string{"net"}, mayLose: true}.check(l)
					if t.Failed() {
						t.Fatalf("%v %s the answer, always %t\na:\n%sb:\n%s", kind, way, always, l.a.story(), l.b.story())
					}
				}
			}
		})
	}
}
