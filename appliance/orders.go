package appliance

import (
	"fmt"
	"maps"
	"slices"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/policy"
)

// The orders that change the policy in force, each as a request.

func (m *manager) apply(o api.Apply) request {
	return request{what: "config apply", verb: "apply", dryRun: o.DryRun,
		text: func(*running) ([]byte, error) { return []byte(o.Text), nil }}
}

func (m *manager) rollback(o api.Rollback) request {
	r := request{what: "config rollback", verb: "rollback", dryRun: o.DryRun,
		text: func(*running) ([]byte, error) {
			text, _, err := m.store.load(o.Number)
			return text, err
		}}
	if o.Number != 0 {
		r.what += fmt.Sprintf(" %d", o.Number)
	}
	return r
}

func (m *manager) reload(o api.Reload) request {
	return request{what: "reload", verb: "reload", dryRun: o.DryRun, fromFile: true,
		text: func(*running) ([]byte, error) { return m.store.read() }}
}

func (m *manager) activate(o api.Activate) request {
	return request{what: "policy activate " + o.Name, verb: "activate", dryRun: o.DryRun,
		text: func(now *running) ([]byte, error) {
			text, err := config.SetActivePolicy(now.text, o.Name)
			if err != nil {
				return nil, refuse(err)
			}
			return text, nil
		}}
}

func (m *manager) purge(o api.Purge) request {
	return request{what: "policy purge", verb: "purge", dryRun: o.DryRun,
		text: func(now *running) ([]byte, error) {
			text, err := config.Purge(now.text)
			if err != nil {
				return nil, refuse(err)
			}
			return text, nil
		}}
}

func (m *manager) resolve(o api.Resolve) request {
	return request{what: "filters resolve", verb: "resolve", dryRun: o.DryRun, fresh: true}
}

func (m *manager) setLevel(o api.SetLevel) request {
	return request{what: "exemption level " + o.Level, verb: "level", dryRun: o.DryRun,
		overlay: func(now *running) (overlay, error) {
			level, err := policy.ParseExemptionLevel(o.Level)
			if err != nil {
				return overlay{}, badRequest{err}
			}
			over := now.overlay
			over.level = &level
			return over, nil
		}}
}

func (m *manager) changeAddress(o api.ChangeAddress) request {
	verb := "address add"
	if o.Remove {
		verb = "address remove"
	}
	return request{what: fmt.Sprintf("%s %s %s", verb, o.Port, o.Address), verb: "address", dryRun: o.DryRun,
		overlay: func(now *running) (overlay, error) {
			event, err := addressChange(now, o)
			if err != nil {
				return overlay{}, badRequest{err}
			}
			return now.overlay.with(event), nil
		}}
}

// addressChange checks an event against the own addresses of this moment.
func addressChange(now *running, o api.ChangeAddress) (addressEvent, error) {
	event := addressEvent{port: o.Port, removed: o.Remove}
	if _, known := now.addresses[o.Port]; !known {
		return event, fmt.Errorf("port %q: expected one of %s", o.Port, portNames(now.cfg))
	}
	address, err := config.ParsePortAddress(o.Address)
	if err != nil {
		return event, fmt.Errorf("address: %w", err)
	}
	event.address = address
	at := portOf(now.addresses, address.Addr())
	switch {
	case o.Remove && at != o.Port:
		return event, fmt.Errorf("port %s has no address %s now", o.Port, address.Addr())
	case !o.Remove && at != "":
		return event, fmt.Errorf("address %s: port %s has it already", address.Addr(), at)
	}
	for _, port := range slices.Sorted(maps.Keys(now.addresses)) {
		for _, used := range now.addresses[port] {
			if !o.Remove && port != o.Port && used.Overlaps(address) { // as in the file
				return event, fmt.Errorf("address %s: expected a subnet of its own, found %s, which overlaps %s of port %s", address, address.Masked(), used.Masked(), port)
			}
		}
	}
	return event, nil
}

func portNames(cfg *config.Config) string {
	names := ""
	for i, p := range cfg.Ports {
		if i > 0 {
			names += ", "
		}
		names += p.Name
	}
	return names
}
