package peers

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// Tunnel describes one connection from a peer's point of view.
type Tunnel struct {
	Name            string // of connection and Child SA
	Version         int    // of IKE; 2 when 0
	Local, Remote   netip.Addr
	LocalNet        netip.Prefix
	RemoteNet       netip.Prefix
	LocalID         string // the address when empty
	RemoteID        string
	PSK             string // both authenticate with their public keys when empty
	IKEProposals    string // strongSwan's words, for example aes128gcm16-prfsha256-ecp256
	ESPProposals    string
	LivenessSeconds int // between liveness checks of a silent peer, off when 0

	// More lines for swanctl.conf, of which one takes the place of an earlier one with its key: of the connection, of how
	// the two authenticate, and of the Child SA; then more sections beside the Child SA and the preshared key.
	Connection, LocalAuth, RemoteAuth, Child string
	Children, Secrets                        string
	Settings                                 string            // the same for the daemon's section of strongswan.conf
	Files                                    map[string][]byte // certificates and keys by name in the daemon's folder: x509ca/ca.pem
	Wrap                                     []string          // before the daemon's command line, of one in a namespace
}

// espKind says who does ESP for the daemon.
type espKind int

const (
	kernelESP espKind = iota
	userlandESP
)

// settings fill the templates.
type settings struct {
	Tunnel
	Dir     string // as the daemon sees it
	Plugins string
}

// plugins are what the daemon loads; order decides who is asked first.
const plugins = "random nonce openssl gcm ccm ctr kdf aes des sha1 sha2 hmac cmac xcbc chapoly curve25519 gmp mgf1 pem pkcs1 pkcs8 x509 pubkey constraints revocation " +
	"%skernel-netlink socket-default vici"

// Rekeying is never started by time here: tests start it, or the other side does. Requests are sent again soon, and for longer than a test waits: a peer that
// has to start programs before it answers, on a busy machine, takes more than 13 s for IKE_AUTH.
var strongswanConf = template.Must(template.New("strongswan.conf").Parse(`charon-systemd {
  load_modular = no
  load = {{.Plugins}}
  retransmit_tries = 8
  retransmit_timeout = 1.0
  retransmit_base = 1.5
  filelog {
    lab {
      path = {{.Dir}}/` + logFile + `
      time_format = %T
      default = 1
      ike = 2
      flush_line = yes
    }
  }
  journal {
    default = -1
  }
  plugins {
    vici {
      socket = unix://{{.Dir}}/` + viciSocket + `
    }
  }
  {{.Settings}}
}
`))

var swanctlConf = template.Must(template.New("swanctl.conf").Parse(`connections {
  {{.Name}} {
    version = {{.Version}}
    local_addrs = {{.Local}}
    remote_addrs = {{.Remote}}
    proposals = {{.IKEProposals}}
    rekey_time = 0
    dpd_delay = {{.LivenessSeconds}}s
    {{.Connection}}
    local {
      auth = {{if .PSK}}psk{{else}}pubkey{{end}}
      id = "{{.LocalID}}"
      {{.LocalAuth}}
    }
    remote {
      auth = {{if .PSK}}psk{{else}}pubkey{{end}}
      id = "{{.RemoteID}}"
      {{.RemoteAuth}}
    }
    children {
      {{.Name}} {
{{if .LocalNet.IsValid}}        local_ts = {{.LocalNet}}
{{end}}{{if .RemoteNet.IsValid}}        remote_ts = {{.RemoteNet}}
{{end}}{{if .ESPProposals}}        esp_proposals = {{.ESPProposals}}
{{end}}        mode = tunnel
        rekey_time = 0
        start_action = none
        close_action = none
        {{.Child}}
      }
      {{.Children}}
    }
  }
}
secrets {
{{if .PSK}}  ike-{{.Name}} {
    id-1 = "{{.LocalID}}"
    id-2 = "{{.RemoteID}}"
    secret = "{{.PSK}}"
  }
{{end}}  {{.Secrets}}
}
`))

// writeStrongSwan writes the daemon's files into dir, which the daemon knows as seen.
func writeStrongSwan(dir, seen string, t Tunnel, esp espKind) error {
	if t.LocalID == "" {
		t.LocalID = t.Local.String()
	}
	if t.RemoteID == "" {
		t.RemoteID = t.Remote.String()
	}
	t.Version = cmp.Or(t.Version, 2)
	userland := ""
	if esp == userlandESP {
		userland = "kernel-libipsec "
	}
	values := settings{Tunnel: t, Dir: seen, Plugins: fmt.Sprintf(plugins, userland)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	for _, conf := range []*template.Template{strongswanConf, swanctlConf} {
		var text strings.Builder
		if err := conf.Execute(&text, values); err != nil {
			return fmt.Errorf("peers: %s: %w", conf.Name(), err)
		}
		if err := os.WriteFile(filepath.Join(dir, conf.Name()), []byte(text.String()), 0o600); err != nil {
			return fmt.Errorf("peers: %w", err)
		}
	}
	return nil
}
