package crypto

import (
	"hash"
	"sync"
)

// hashes are those of one kind that wait for their next use. A PRF is wanted once or twice under most of its keys: crypto/hmac would make two hashes and two pads for each, and
// IKE's negotiations are short enough for that to show.
type hashes struct {
	size int
	pool sync.Pool // of *pooledHash
}

// pooledHash has nothing left in it of what it was used for.
type pooledHash struct {
	hash.Hash
	pad   []byte // a block
	value []byte // room for one
}

func hashesOf(newHash func() hash.Hash) *hashes {
	h := &hashes{size: newHash().Size()}
	h.pool.New = func() any {
		h := newHash()
		return &pooledHash{Hash: h, pad: make([]byte, h.BlockSize()), value: make([]byte, 0, h.Size())}
	}
	return h
}

// sum is the hash of the parts in a row.
func (h *hashes) sum(parts [][]byte) []byte {
	p := h.pool.Get().(*pooledHash)
	for _, part := range parts {
		p.Write(part)
	}
	value := p.Sum(make([]byte, 0, h.size))
	p.wipe()
	h.pool.Put(p)
	return value
}

// hmac is HMAC(key, parts[0] | parts[1] | ...) = H(K ^ opad | H(K ^ ipad | parts...)), K being the key, or its hash if it is longer than a block, filled up with
// zeros (RFC 2104 section 2).
func (h *hashes) hmac(key []byte, parts [][]byte) []byte {
	const ipad, opad = 0x36, 0x5c
	p := h.pool.Get().(*pooledHash)
	if len(key) > len(p.pad) {
		p.Write(key)
		key = p.Sum(p.value)
		p.Reset()
	}
	copy(p.pad, key)
	for i := range p.pad {
		p.pad[i] ^= ipad
	}
	p.Write(p.pad)
	for _, part := range parts {
		p.Write(part)
	}
	inner := p.Sum(p.value)
	for i := range p.pad {
		p.pad[i] ^= ipad ^ opad
	}
	p.Reset()
	p.Write(p.pad)
	p.Write(inner)
	value := p.Sum(make([]byte, 0, h.size))
	p.wipe()
	h.pool.Put(p)
	return value
}

// wipe clears what was hashed: the state, and the block that is filled up by what is too little for one.
func (p *pooledHash) wipe() {
	Wipe(p.pad)
	Wipe(p.value[:cap(p.value)])
	p.Reset()
	p.Write(p.pad[1:])
	p.Write(p.pad[:1]) // by itself it would not pass that block
	p.Reset()
}
