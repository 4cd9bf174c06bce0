package offload

import (
	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
)

// need is what an SA asks of whoever does its work.
type need struct {
	cryptodev.ESP

	bundle bool // of AH and ESP
}

func needOf(sa *pipeline.InlineSA) need { return need{ESP: sa.ESP()} }

// needOfInstalled is the need of an SA that the data plane has, as far as that tells.
func needOfInstalled(sa *pipeline.SACounters) need {
	n := needOf(&pipeline.InlineSA{
		Outbound: sa.Outbound, Transport: sa.Transport, UDPEncap: sa.UDPEncap, ESN: sa.ESN, SPI: sa.SPI, Suite: sa.Suite, Local: sa.Local, Remote: sa.Remote,
		ReplayWindow: sa.ReplayWindow, Encapsulation: sa.Encapsulation,
	})
	n.bundle = sa.Around != (crypto.Suite{})
	return n
}

// actions are those of the plans that take a port.
var actions = map[Plan]cryptodev.Action{InlineProtocol: cryptodev.InlineProtocol, InlineCrypto: cryptodev.InlineCrypto}

// entry is what a port says of a plan for an SA, or why it does not do it, as far as what it says of itself tells.
func (p *nic) entry(plan Plan, n *need) (c *cryptodev.Capability, refusal string) {
	switch {
	case p.missing != "":
		return nil, p.missing
	case n.Suite.AH() || n.bundle:
		return nil, "AH: ports do ESP alone"
	case n.Suite.Encr == crypto.EncrNull || n.Suite.Encr == crypto.EncrNullAESGMAC:
		return nil, "ESP without encryption stays with the CPU"
	case !p.security.Offers(actions[plan]):
		return nil, "the port has none"
	}
	return p.security.Find(actions[plan], &n.ESP)
}

func (p *nic) refuses(plan Plan, n *need) string {
	_, refusal := p.entry(plan, n)
	return refusal
}
