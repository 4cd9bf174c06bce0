package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// Types of values that need a parser of their own. The others are those of the packages that use them.
type (
	hugePages    string
	idleMode     string
	dpdkLogLevel string
	logFormat    string
	socketPath   string
	absolutePath string
	onOff        string
	softWord     string
	authMethod   string
	template     string
	portRole     policy.PortGroup
	portAddress  netip.Prefix // an address with the length of its subnet's prefix
	network      netip.Prefix // a prefix without host bits
	outerAddress netip.Addr   // an end of a tunnel
	protocol     uint8
	reviewDate   time.Time
	ikeProposal  crypto.IKEProposal
	espProposal  crypto.ESPProposal
	ahProposal   crypto.Proposal
)

// parsers reads each type from text. An error says what was expected and what was found.
var parsers = map[reflect.Type]func(string) (any, error){}

func register[T any](parse func(string) (T, error)) {
	parsers[reflect.TypeFor[T]()] = func(text string) (any, error) { return parse(text) }
}

func init() {
	registerWord[hugePages]("auto", "on", "off")
	registerWord[idleMode]("poll", "yield", "sleep")
	registerWord[dpdkLogLevel]("error", "warning", "notice", "info", "debug")
	registerWord[logFormat]("text", "json")
	registerWord[onOff]("on", "off")
	registerWord[softWord]("allow", "deny")
	registerWord[template]("exempt-dns", "exempt-netbios", "exempt-dc")
	register(parseAuthMethod)
	register(parseSocketPath)
	register(parseAbsolutePath)
	register(parseRole)
	register(parsePortAddress)
	register(parseNetwork)
	register(parseAddress)
	register(parseOuterAddress)
	register(parseListen)
	register(parseDuration)
	registerTunnelWords()
	register(parseLevel)
	register(parseReviewDate)
	register(parseStart)
	register(parseVersion)
	register(ike.ParseIdentity)
	register(policy.ParseAddressSpec)
	register(policy.ParsePortRange)
	register(policy.ParsePortGroup)
	register(parseAction)
	register(policy.ParseExemptionLevel)
	register(func(text string) (protocol, error) { p, err := policy.ParseProtocol(text); return protocol(p), err })
	register(func(text string) (ikeProposal, error) {
		p, err := crypto.ParseIKEProposalWithLegacy(text) // build_legacy.go asks for leave to use weak ones
		return ikeProposal(p), err
	})
	register(func(text string) (espProposal, error) {
		p, err := crypto.ParseESPProposalWithLegacy(text)
		return espProposal(p), err
	})
	register(func(text string) (ahProposal, error) {
		p, err := crypto.ParseAHProposalWithLegacy(text)
		return ahProposal(p), err
	})
}

// registerWord registers a type that takes one of a few words.
func registerWord[T ~string](words ...string) {
	register(func(text string) (T, error) {
		if !slices.Contains(words, text) {
			return "", fmt.Errorf("expected %s or %s, found %q", strings.Join(words[:len(words)-1], ", "), words[len(words)-1], text)
		}
		return T(text), nil
	})
}

// maxSocketPath is the longest path of a Unix socket on Linux in bytes (unix(7)), its ending NUL not counted.
const maxSocketPath = 107

func parseSocketPath(text string) (socketPath, error) {
	switch {
	case !filepath.IsAbs(text):
		return "", fmt.Errorf("expected an absolute path, found %q", text)
	case len(text) > maxSocketPath:
		return "", fmt.Errorf("expected a path of at most %d bytes, found one of %d", maxSocketPath, len(text))
	}
	return socketPath(text), nil
}

func parseAbsolutePath(text string) (absolutePath, error) {
	if !filepath.IsAbs(text) || strings.ContainsRune(text, 0) {
		return "", fmt.Errorf("expected an absolute path, found %q", text)
	}
	return absolutePath(filepath.Clean(text)), nil
}

func parseRole(text string) (portRole, error) {
	switch text {
	case "protected":
		return portRole(policy.PortsLAN), nil
	case "unprotected":
		return portRole(policy.PortsWAN), nil
	}
	return 0, fmt.Errorf("expected protected or unprotected, found %q", text)
}

// actionSynonyms are the words of other systems for the three actions.
var actionSynonyms = map[string]policy.ActionKind{
	"allow": policy.ActionPermit, "accept": policy.ActionPermit, "pass": policy.ActionPermit, "bypass": policy.ActionPermit,
	"deny": policy.ActionBlock, "drop": policy.ActionBlock, "discard": policy.ActionBlock, "reject": policy.ActionBlock,
	"protect": policy.ActionNegotiate, "secure": policy.ActionNegotiate, "encrypt": policy.ActionNegotiate, "ipsec": policy.ActionNegotiate,
}

func parseAction(text string) (policy.ActionKind, error) {
	kind, err := policy.ParseActionKind(text)
	if meant, known := actionSynonyms[strings.ToLower(text)]; err != nil && known {
		err = fmt.Errorf("%w: did you mean %s?", err, meant)
	}
	return kind, err
}

// parseAuthMethod reads how two gateways prove to each other who they are.
func parseAuthMethod(text string) (authMethod, error) {
	switch {
	case text == authPSK, text == authCertificate:
		return authMethod(text), nil
	case !methodForm.MatchString(text):
		return "", errors.New("expected psk or certificate, found something else, which is not shown because it may be the key itself")
	}
	return "", fmt.Errorf("expected psk or certificate, found %q", text)
}

// methodForm is how names of methods look, and preshared keys seldom.
var methodForm = regexp.MustCompile(`^[a-z0-9-]{0,16}$`)

// How two gateways authenticate.
const (
	authPSK         = "psk"
	authCertificate = "certificate"
)

// isHost reports whether an address can be a host's: unicast, and written as the IP version it is of.
func isHost(a netip.Addr) bool {
	return a.Zone() == "" && !a.Is4In6() && (a.IsGlobalUnicast() || a.IsLinkLocalUnicast())
}

func parsePortAddress(text string) (portAddress, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !isHost(p.Addr()) {
		return portAddress{}, fmt.Errorf("expected a unicast address with the prefix length of its subnet (10.1.0.1/24, 2001:db8:1::1/64), found %q", text)
	}
	if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
		return portAddress{}, fmt.Errorf("expected an IPv6 address that is good beyond its link (2001:db8:1::1/64), found %q", text)
	}
	subnet := policy.RangeOf(p)
	switch single := p.Addr().BitLen() - 1; {
	case p.Bits() >= single: // RFC 3021, RFC 6164: both addresses of a link between two routers are hosts'
	case p.Addr().Is4() && (p.Addr() == subnet.First || p.Addr() == subnet.Last):
		return portAddress{}, fmt.Errorf("expected the address of a host in its subnet, found %s, which is the first or last of %s", p.Addr(), subnet)
	case p.Addr() == subnet.First: // RFC 4291, section 2.6.1
		return portAddress{}, fmt.Errorf("expected the address of a host in its subnet, found %s, which is the anycast address of the routers of %s", p.Addr(), subnet)
	}
	return portAddress(p), nil
}

// ParsePortAddress reads an own address of a port with the length of its subnet, as ports[].addresses has it.
func ParsePortAddress(text string) (netip.Prefix, error) {
	p, err := parsePortAddress(text)
	return netip.Prefix(p), err
}

func parseNetwork(text string) (network, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return network{}, fmt.Errorf("expected a prefix (10.9.0.0/16, 0.0.0.0/0, 2001:db8:9::/48), found %q", text)
	}
	if masked := p.Masked(); masked != p {
		return network{}, fmt.Errorf("expected a prefix without host bits, found %s: did you mean %s?", text, masked)
	}
	return network(p), nil
}

func parseAddress(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || !isHost(a) {
		return netip.Addr{}, fmt.Errorf("expected a unicast address (192.0.2.1, 2001:db8::1), found %q", text)
	}
	return a, nil
}

func parseOuterAddress(text string) (outerAddress, error) {
	a, err := parseAddress(text)
	if err == nil && a.Is6() && a.IsLinkLocalUnicast() {
		err = fmt.Errorf("expected an IPv6 address that is good beyond its link (2001:db8::1), found %q", text)
	}
	return outerAddress(a), err
}

func parseListen(text string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("expected an address and a TCP port (127.0.0.1:9433), found %q", text)
	}
	return a, nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("expected a time with its unit (500ms, 30s, 5m, 8h), found %q", text)
	}
	return d, nil
}

func parseLevel(text string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	if level, known := levels[text]; known {
		return level, nil
	}
	return 0, fmt.Errorf("expected debug, info, warn or error, found %q", text)
}

func parseReviewDate(text string) (reviewDate, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return reviewDate{}, fmt.Errorf("expected a date (2026-11-21), found %q", text)
	}
	return reviewDate(t), nil
}

func parseStart(text string) (ike.Start, error) {
	for _, start := range []ike.Start{ike.StartAlways, ike.StartOnDemand} {
		if start.String() == text {
			return start, nil
		}
	}
	return 0, fmt.Errorf("expected always or on-demand, found %q", text)
}

func parseVersion(text string) (ike.Version, error) {
	for _, version := range []ike.Version{ike.V2, ike.V1, ike.VAny} {
		if version.String() == text {
			return version, nil
		}
	}
	return 0, fmt.Errorf("expected v2, v1 or any, found %q", text)
}
