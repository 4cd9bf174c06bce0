package ikev1

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"sallyport/ike/isakmp"
)

var fragmentCookies = isakmp.Cookies{Initiator: 1, Responder: 2}

// longMessage is an encrypted message of so many octets.
func longMessage(t testing.TB, octets int, fill byte) []byte {
	t.Helper()
	m := isakmp.Message{Header: isakmp.Header{Cookies: fragmentCookies, NextPayload: isakmp.PayloadID, Exchange: isakmp.ExchangeMain, Flags: isakmp.FlagEncryption},
		Ciphertext: bytes.Repeat([]byte{fill}, octets-isakmp.HeaderLength)}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pieces are the fragments of a message, read again.
func pieces(t testing.TB, message []byte, id uint16, room int) (list []*isakmp.Fragment) {
	t.Helper()
	datagrams, err := cut(message, id, room)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range datagrams {
		m, err := isakmp.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if m.Cookies != fragmentCookies || m.Exchange != isakmp.ExchangeMain || m.MessageID != 0 || m.Encrypted() {
			t.Errorf("a fragment has header %+v, expected main mode, message id 0, in clear", m.Header)
		}
		list = append(list, isakmp.Find[*isakmp.Fragment](m.Payloads))
	}
	return list
}

func newRoom() *fragmentRoom { return &fragmentRoom{each: isakmp.MaxMessage, all: 1 << 20} }

// A message is cut into 16 fragments at most, for libreswan takes no more, and comes together whatever their order.
func TestFragments(t *testing.T) {
	for _, c := range []struct{ octets, room, want int }{{1200, 1200, 1}, {1201, 1200, 2}, {16384, 1232, 14}, {16384, 528, 16}, {9000, 528, 16}, {2000, 528, 5}} {
		message := longMessage(t, c.octets, 7)
		datagrams, err := cut(message, 1, c.room)
		if err != nil || len(datagrams) != c.want {
			t.Fatalf("%d octets in %d: %d datagrams, error %v, expected %d", c.octets, c.room, len(datagrams), err, c.want)
		}
		if c.want == 1 {
			continue
		}
		list, room, r := pieces(t, message, 1, c.room), newRoom(), reassembly{}
		for n, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(list)) {
			m, err := r.collect(room, 1, list[i])
			switch {
			case n < len(list)-1:
				if !errors.Is(err, errIncomplete) {
					t.Fatalf("fragment %d of %d: error %v, expected to wait", n+1, len(list), err)
				}
				if _, err := r.collect(room, 1, list[i]); !errors.Is(err, errIncomplete) {
					t.Fatalf("the same again: error %v, expected to wait", err)
				}
			case err != nil || !bytes.Equal(m, message):
				t.Fatalf("%d octets come together wrong, error %v", c.octets, err)
			}
		}
		if room.used != 0 || r.begun() {
			t.Errorf("%d octets are held after a message has come together", room.used)
		}
	}
}

// Messages 5 and 6 as strongSwan cut them.
func TestCapturedFragments(t *testing.T) {
	c := readCapture(t, "ikev1-rsa-3des-md5-fragments")
	room, r, whole := newRoom(), reassembly{}, 0
	for _, b := range c.datagrams {
		m, err := isakmp.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		f := isakmp.Find[*isakmp.Fragment](m.Payloads)
		if f == nil {
			continue
		}
		got, err := r.collect(room, 0.5, f)
		if errors.Is(err, errIncomplete) {
			continue
		}
		if err != nil || !bytes.HasSuffix(got, c.messages[4+whole].Ciphertext) {
			t.Fatalf("message %d comes together wrong, error %v", 5+whole, err)
		}
		whole++
	}
	if whole != 2 || room.used != 0 {
		t.Errorf("%d messages came together and %d octets are left, expected 2 and none", whole, room.used)
	}
}

// Fragments of two messages, with one id as some senders have it, of forgers and of the careless: nothing but a whole message comes out, and no more is
// held than there is room for.
func TestHostileFragments(t *testing.T) {
	first, second := pieces(t, longMessage(t, 1400, 1), 1, 528), pieces(t, longMessage(t, 1400, 2), 1, 528)
	other := pieces(t, longMessage(t, 1400, 3), 2, 528)
	with := func(f *isakmp.Fragment, change func(*isakmp.Fragment)) *isakmp.Fragment {
		changed := *f
		change(&changed)
		return &changed
	}
	for name, c := range map[string]struct {
		sent  []*isakmp.Fragment
		whole byte // what the message that came out is filled with; 0: none
	}{
		"another message of the same id":         {[]*isakmp.Fragment{first[0], first[1], second[0], second[1], second[2]}, 2},
		"another id":                             {[]*isakmp.Fragment{first[0], first[1], other[0], other[1], other[2]}, 3},
		"a piece of another message at last":     {[]*isakmp.Fragment{first[0], first[1], other[2]}, 0},
		"the last is not the last":               {[]*isakmp.Fragment{first[0], first[2], with(first[1], func(f *isakmp.Fragment) { f.Last = true })}, 0},
		"one behind the last":                    {[]*isakmp.Fragment{first[2], with(first[0], func(f *isakmp.Fragment) { f.Number = 4 }), first[0], first[1], first[2], first[0], first[1]}, 1},
		"the last before what is there":          {[]*isakmp.Fragment{with(first[0], func(f *isakmp.Fragment) { f.Number = 9 }), first[2], first[1], first[0]}, 1},
		"never a last":                           {[]*isakmp.Fragment{first[0], first[1], with(first[2], func(f *isakmp.Fragment) { f.Last = false })}, 0},
		"one that is whole, and last, and first": {[]*isakmp.Fragment{{ID: 1, Number: 1, Last: true, Data: longMessage(t, 60, 4)}}, 4},
	} {
		room, r, found := newRoom(), reassembly{}, byte(0)
		for _, f := range c.sent {
			if m, err := r.collect(room, 1, f); err == nil {
				found = m[len(m)-1]
			}
		}
		if found != c.whole {
			t.Errorf("%s: message %d came together, expected %d", name, found, c.whole)
		}
		r.forget(room)
		if room.used != 0 {
			t.Errorf("%s: %d octets are left", name, room.used)
		}
	}
}

// Room for fragments is bounded for each message, for all, and for those whose peer is not authenticated.
func TestRoomForFragments(t *testing.T) {
	list := pieces(t, longMessage(t, 3000, 1), 1, 528) // 492 octets each
	for name, c := range map[string]struct {
		room  fragmentRoom
		share float64
		held  int // fragments
	}{
		"of one message": {fragmentRoom{each: 1000, all: 1 << 20}, 1, 2},
		"in all":         {fragmentRoom{each: 1 << 14, all: 1500}, 1, 3},
		"of strangers":   {fragmentRoom{each: 1 << 14, all: 2000}, 0.5, 2},
		"with others":    {fragmentRoom{each: 1 << 14, all: 2000, used: 1400}, 1, 1},
	} {
		r, others := reassembly{}, c.room.used
		for i, f := range list[:4] {
			_, err := r.collect(&c.room, c.share, f)
			if full := errors.Is(err, errNoRoom); full != (i >= c.held) {
				t.Errorf("%s: fragment %d: error %v, expected room for %d", name, i+1, err, c.held)
			}
		}
		if r.forget(&c.room); c.room.used != others {
			t.Errorf("%s: %d octets are left, expected %d", name, c.room.used, others)
		}
	}
}
