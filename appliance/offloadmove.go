package appliance

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"sallyport/appliance/api"
	"sallyport/crypto/cryptodev"
	"sallyport/offload"
	"sallyport/pipeline"
	"sallyport/policy"
)

// SAs that operators move from plan to plan, and devices that SAs have to leave.

// routeOffload routes the order to move SAs, and what is to be seen of their devices.
func (g *Gateway) routeOffload(mux *http.ServeMux, get func(string, func(*http.Request) (any, error))) {
	get(api.PathOffload, func(*http.Request) (any, error) { return g.offloadDevices(), nil })
	mux.HandleFunc("POST "+api.PathMove, func(w http.ResponseWriter, r *http.Request) {
		moved, err := g.moveSAs(w, r)
		respond(w, moved, err)
	})
}

// way is one direction of a tunnel.
type way struct {
	cell     pipeline.CellID
	outbound bool
}

// moveSAs moves the SAs that a request names, and those after them.
func (g *Gateway) moveSAs(w http.ResponseWriter, r *http.Request) ([]api.MovedSA, error) {
	var order api.MoveSAs
	if err := decode(w, r, controlBody, &order); err != nil {
		return nil, err
	}
	place, err := pipeline.ParsePlace(order.Plan)
	switch {
	case err != nil:
		return nil, badRequest{fmt.Errorf("plan: %w", err)}
	case order.All == (order.Name != ""):
		return nil, badRequest{fmt.Errorf("expected the name of an SA or all of them, found %.64q and all: %t", order.Name, order.All)}
	}
	if err := g.offers(place); err != nil {
		return nil, badRequest{err}
	}
	negotiated, err := g.negotiator.snapshot(r.Context())
	if err != nil {
		return nil, err
	}
	counted := g.plane.SACounters()
	shown := sasView(counted, negotiated, g.manualNames(), nil)
	var ways []way
	of := map[way]api.SA{}
	for i, sa := range shown {
		if !order.All && !isNamed(&sa, order.Name) {
			continue
		}
		to := way{counted[i].Cell, counted[i].Outbound}
		if _, listed := of[to]; !listed {
			ways = append(ways, to)
		}
		of[to] = sa
	}
	if len(ways) == 0 && !order.All {
		return nil, badRequest{fmt.Errorf("%.64q: expected the peer, the rule or the SPI of an SA that is there now, as in show sas; none of %d is", order.Name, len(shown))}
	}
	list := []api.MovedSA{}
	for _, to := range ways {
		sa := of[to]
		moved, err := g.plane.Relocate(to.cell, to.outbound, place, sa.Manual == "")
		if err != nil {
			continue // the tunnel has ended meanwhile
		}
		for _, m := range moved {
			list = append(list, g.movedView(&sa, to.cell, &m))
		}
	}
	g.log.Info("offload_move", "plan", place.String(), "name", order.Name, "all", order.All, "by", caller(r.Context()), "sas", len(list),
		"failed", len(slices.DeleteFunc(slices.Clone(list), func(m api.MovedSA) bool { return m.Result != api.MoveFailed })))
	return list, nil
}

// movedView says what came of an SA, and asks for the next one where that alone can be where it is wanted.
func (g *Gateway) movedView(sa *api.SA, cell pipeline.CellID, m *pipeline.Moved) api.MovedSA {
	direction := "inbound"
	if m.Outbound {
		direction = "outbound"
	}
	view := api.MovedSA{Peer: cmp.Or(sa.Peer, sa.Manual), Child: sa.Child, Direction: direction, SPI: spiText(m.SPI), From: m.From.String(), To: m.To.String(), Result: api.MoveMoved}
	switch {
	case m.Err != nil:
		view.Result, view.Why = api.MoveFailed, m.Err.Error()
	case m.Rekey:
		view.Result, view.Why = api.MoveRekeyed, "nobody can read or fill the replay window of a NIC or a crypto device: the next SA will be there if it can"
		g.negotiator.Expire(cell, m.SPI, m.Outbound, false)
	case m.Stays:
		view.Result, view.Why = api.MoveStays, "until its next rekey, from which on the order decides"
	case m.From == m.To:
		view.Result = api.MoveStays
	}
	return view
}

// isNamed reports whether an SA is meant by a name.
func isNamed(sa *api.SA, name string) bool {
	return name == sa.SPI || name == sa.Child || name == policy.SplitFrom(sa.Child) || name == cmp.Or(sa.Peer, sa.Manual)
}

// offers refuses a plan that is not in the order of the configuration: the gateway has no memory for what it would have under way.
func (g *Gateway) offers(place pipeline.Place) error {
	class := map[pipeline.Place]offload.Class{
		pipeline.PlaceInline: offload.Inline, pipeline.PlaceInlineProtocol: offload.Inline, pipeline.PlaceInlineCrypto: offload.Inline,
		pipeline.PlaceLookaside: offload.Lookaside, pipeline.PlaceLookasideProtocol: offload.Lookaside, pipeline.PlaceLookasideCrypto: offload.Lookaside,
		pipeline.PlaceCPU: offload.CPU,
	}[place]
	order := g.cfg.Dataplane.Offload
	if place == pipeline.PlaceAuto || order == nil || slices.Contains(order, string(class)) {
		return nil
	}
	return fmt.Errorf("plan %s: expected one of dataplane.offload, which is %v: it takes a restart to add %s", place, order, class)
}

// offloadDevices lists ports and crypto devices as places for SAs.
func (g *Gateway) offloadDevices() []api.OffloadDevice {
	counts := g.plane.Counters()
	lost := map[uint16]string{}
	for _, l := range counts.LostPorts {
		lost[l.Port] = l.Why
	}
	has := map[string]int{}
	for i := range counts.SAs {
		has[g.offload.PlaceOf(&counts.SAs[i]).Device]++
	}
	var list []api.OffloadDevice
	for _, p := range g.offload.Ports() {
		d := api.OffloadDevice{Name: p.Name, Kind: "port", State: "up", SAs: has[p.Name], Why: p.Why}
		for _, plan := range p.Plans {
			d.Plans = append(d.Plans, string(plan))
		}
		if why, is := lost[p.ID]; is {
			d.State, d.Why = "lost", why
		} else if p.Why != "" {
			d.State = "none"
		}
		list = append(list, d)
	}
	for _, device := range g.crypto.Describe() {
		list = append(list, cryptoView(&device, has[device.Name], g.cfg.Dataplane.Offload))
	}
	return list
}

// cryptoView is what a crypto device, or libIPSec_MB, is good for with an order of dataplane.offload.
func cryptoView(device *cryptodev.DeviceInfo, sas int, order []string) api.OffloadDevice {
	d := api.OffloadDevice{Name: device.Name, Kind: "crypto", State: "up", SAs: sas}
	cpu, wanted := device.Direct || device.CPU, order == nil || slices.Contains(order, string(offload.CPU))
	some := len(device.Suites) > 0
	if some && cpu && wanted {
		d.Plans = append(d.Plans, string(offload.CPUCrypto))
	}
	if device.Whole {
		d.Plans = append(d.Plans, string(offload.LookasideProtocol))
	}
	if some && device.Queued {
		d.Plans = append(d.Plans, string(offload.LookasideCrypto))
	}
	switch {
	case device.Lost != "":
		d.State, d.Why = "lost", device.Lost
	case len(d.Plans) > 0:
		d.Why = device.Wrong
	case device.Missing != "":
		d.State, d.Why = "none", device.Missing
	case !some && device.Direct:
		d.State, d.Why = "none", "dataplane.crypto_devices leaves no algorithm to it"
	case !some:
		d.State, d.Why = "none", "has no algorithm of ESP"
	case cpu && !wanted:
		d.State, d.Why = "none", "cpu is not in the order"
	default:
		d.State, d.Why = "none", "lookaside is not in the order"
	}
	return d
}

// offloadChanged writes down that a device is lost, or back.
func (g *Gateway) offloadChanged(c pipeline.OffloadChange) {
	device, kind := c.Device, "crypto"
	if device == "" {
		kind = "port"
		for _, p := range g.offload.Ports() {
			if p.ID == c.Port {
				device = p.Name
				break // its VLANs have the same NIC
			}
		}
	}
	if !c.Lost {
		g.log.Info("offload_back", "device", device, "kind", kind, "hint", "SAs that it had stay where they are until they are rekeyed, or moved: sallyport offload move --all auto")
		return
	}
	g.log.Error("offload_lost", "device", device, "kind", kind, "why", c.Why, "moved", c.Moved, "blocked", c.Blocked)
}
