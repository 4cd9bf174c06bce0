package policy

// Exemption is traffic that passes whatever the filters say (S-031). It is shown and counted like any filter.
type Exemption struct {
	ID      uint32 // counter, never 0 and stable over recompiles
	Name    string
	Filters []ExemptFilter
}

// ExemptFilter is one specific filter of an exemption, in packet terms.
type ExemptFilter struct {
	Source, Destination         AddrRange
	Protocol                    uint8
	SourcePort, DestinationPort PortRange
}

// Matches reports whether the packet is the filter's.
func (f ExemptFilter) Matches(p Packet) bool {
	return f.Source.Contains(p.Source) && f.Destination.Contains(p.Destination) && f.Protocol == p.Protocol &&
		f.SourcePort.matches(p.SourcePort, p.HasPorts) && f.DestinationPort.matches(p.DestinationPort, p.HasPorts)
}

// The UDP ports of IKE: RFC 7296, section 2, and RFC 3948 for the one that passes NAT.
const (
	protocolUDP = 17
	portIKE     = 500
	portIKENATT = 4500
)

// exemptionsLevel3 is the IKE exemption, the only one of level 3 and in force only while a rule needs IKE (S-034). It
// names the gateway's own addresses, so transit traffic to these ports is filtered like any other (S-033). Toward 4500
// the peer's port is free, because a NAT between the two changes it (C-07).
func exemptionsLevel3(env Environment) []Exemption {
	ike, natt := PortRange{First: portIKE, Last: portIKE}, PortRange{First: portIKENATT, Last: portIKENATT}
	rows := []struct {
		name         string
		inbound      bool
		mine, theirs PortRange
	}{
		{"ike-inbound", true, ike, ike},
		{"ike-outbound", false, ike, ike},
		{"ike-natt-inbound", true, natt, AnyPort},
		{"ike-natt-outbound", false, natt, AnyPort},
	}
	var exemptions []Exemption
	for _, row := range rows {
		e := Exemption{Name: row.name}
		for _, address := range env.addresses() {
			any := AnyIPv6()
			if address.Is4() {
				any = AnyIPv4()
			}
			f := ExemptFilter{Source: HostRange(address), Destination: any, Protocol: protocolUDP, SourcePort: row.mine, DestinationPort: row.theirs}
			if row.inbound {
				f.Source, f.Destination = f.Destination, f.Source
				f.SourcePort, f.DestinationPort = f.DestinationPort, f.SourcePort
			}
			e.Filters = append(e.Filters, f)
		}
		exemptions = append(exemptions, e)
	}
	return exemptions
}

// Exempt is the exemption that lets the packet pass, if there is one.
func (s *SPD) Exempt(p Packet) (*Exemption, bool) {
	for i := range s.Exemptions {
		for _, f := range s.Exemptions[i].Filters {
			if f.Matches(p) {
				return &s.Exemptions[i], true
			}
		}
	}
	return nil, false
}
