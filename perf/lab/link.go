package lab

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// offloads are the features that would let frames larger than the MTU or with unfinished checksums
// onto a veth pair, where a gateway that reads raw frames and a capture would see what no wire has.
var offloads = []string{"tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"}

// Wire joins two namespaces with a veth pair: names, an MTU in octets, both ends up, offloads off.
func Wire(ctx context.Context, a *Namespace, nameA string, b *Namespace, nameB string, mtu int) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = nameA
	attributes.MTU = mtu
	other, err := netns.GetFromName(b.Name)
	if err != nil {
		return fmt.Errorf("lab: opening namespace %s: %w", b.Name, err)
	}
	defer other.Close()
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: nameB, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(other)}
	if err := a.links.LinkAdd(pair); err != nil {
		return fmt.Errorf("lab: wire %s in %s to %s in %s: %w", nameA, a.Name, nameB, b.Name, err)
	}
	for _, end := range []struct {
		in   *Namespace
		name string
	}{{a, nameA}, {b, nameB}} {
		if _, err := end.in.Run(ctx, append([]string{"ethtool", "-K", end.name}, offloads...)...); err != nil {
			return err
		}
		if err := end.in.SetUp(end.name); err != nil {
			return err
		}
	}
	return nil
}

// SetUp brings an interface of the namespace up.
func (n *Namespace) SetUp(link string) error {
	l, err := n.links.LinkByName(link)
	if err == nil {
		err = n.links.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %s: bringing %s up: %w", n.Name, link, err)
	}
	return nil
}

// Mute keeps the kernel of the namespace from speaking on a link that a data plane or a guest
// drives with raw frames: two stacks must not answer on one wire.
func (n *Namespace) Mute(link string) error {
	l, err := n.links.LinkByName(link)
	if err == nil {
		err = n.links.LinkSetARPOff(l)
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %s: turning ARP off on %s: %w", n.Name, link, err)
	}
	return nil
}
