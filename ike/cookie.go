package ike

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"time"
)

// cookies makes and checks the cookies of RFC 7296 2.6: <version of secret> | HMAC(<secret>, Ni | IPi | port | SPIi). Nothing is kept for a
// cookie given out; one is good until its secret has been replaced twice.
type cookies struct {
	secrets [2][]byte // the current one and the one before
	version uint8     // of the current one
	since   time.Time
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
	c.secrets[0] = e.random(sha256.Size)
	c.version++
	c.since = e.now
}

func (c *cookies) make(d Datagram, spi uint64, nonce []byte) []byte {
	return cookie(c.secrets[0], c.version, d, spi, nonce)
}

func (c *cookies) valid(data []byte, d Datagram, spi uint64, nonce []byte) bool {
	for age, secret := range c.secrets {
		if secret != nil && subtle.ConstantTimeCompare(data, cookie(secret, c.version-uint8(age), d, spi, nonce)) == 1 {
			return true
		}
	}
	return false
}

func cookie(secret []byte, version uint8, d Datagram, spi uint64, nonce []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(nonce)
	mac.Write(d.Remote.Addr().AsSlice())
	mac.Write(binary.BigEndian.AppendUint16(nil, d.Remote.Port()))
	mac.Write(spi8(spi))
	return mac.Sum([]byte{version})
}
