package ike

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"time"

	"sallyport/ike/wire"
)

// cookies makes and checks the cookies of RFC 7296 2.6: <version of secret> | HMAC(<secret>, Ni | IPi | port | SPIi). Nothing is kept for a
// cookie given out; one is good until its secret has been replaced twice.
type cookies struct {
	secrets [2]hash.Hash // HMACs by the current one and the one before
	version uint8        // of the current one
	since   time.Time
	octets  []byte // that a cookie is made of
}

// rotate replaces the secret when its time is over. It is called before each use, so a secret unused for long goes at its next use.
func (c *cookies) rotate(e *Engine) {
	age := e.now.Sub(c.since)
	if c.secrets[0] != nil && age < e.limits.CookieLifetime {
		return
	}
	c.secrets[1] = c.secrets[0]
	if age >= 2*e.limits.CookieLifetime {
		c.secrets[1] = nil
	}
	c.secrets[0] = hmac.New(sha256.New, e.random(sha256.Size))
	c.version++
	c.since = e.now
}

func (c *cookies) make(d Datagram, spi uint64, nonce []byte) []byte {
	return c.cookie(make([]byte, 0, 1+sha256.Size), 0, d, spi, nonce)
}

func (c *cookies) valid(data []byte, d Datagram, spi uint64, nonce []byte) bool {
	for age, secret := range c.secrets {
		if secret == nil {
			continue
		}
		var room [1 + sha256.Size]byte
		if subtle.ConstantTimeCompare(data, c.cookie(room[:0], age, d, spi, nonce)) == 1 {
			return true
		}
	}
	return false
}

// cookie appends that of the secret of an age. It allocates nothing, for a flood's sake.
func (c *cookies) cookie(to []byte, age int, d Datagram, spi uint64, nonce []byte) []byte {
	address := d.Remote.Addr().As16()
	b := append(c.octets[:0], nonce...)
	b = append(b, address[16-d.Remote.Addr().BitLen()/8:]...)
	b = binary.BigEndian.AppendUint16(b, d.Remote.Port())
	b = binary.BigEndian.AppendUint64(b, spi)
	c.octets = b
	mac := c.secrets[age]
	mac.Reset()
	mac.Write(b)
	return mac.Sum(append(to, c.version-uint8(age)))
}

// asked are the requests that the initiator of an IKE SA may have sent in place of the one that began it: the same with a cookie of ours. A request and its retransmission may meet with
// different answers while there are about as many half-open IKE SAs as make us ask for cookies: one of them begins the IKE SA, the other is asked for a cookie. AUTH covers the request that was
// sent last (RFC 7296 2.15), and that may be on its way still, or lost.
func (sa *ikeSA) asked() (requests [][]byte) {
	e := sa.engine
	if sa.role != RoleResponder || sa.initRequest == nil {
		return nil
	}
	plain := wire.WithoutCookie(nil, sa.initRequest)
	for age, secret := range e.cookies.secrets {
		if secret == nil {
			continue
		}
		cookie := e.cookies.cookie(nil, age, Datagram{Remote: sa.initFrom}, sa.remoteSPI, sa.ni)
		if request := wire.WithCookie(plain, cookie); !bytes.Equal(request, sa.initRequest) {
			requests = append(requests, request)
		}
	}
	return requests
}
