package peers

import (
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
	Local, Remote   netip.Addr
	LocalNet        netip.Prefix
	RemoteNet       netip.Prefix
	LocalID         string // the address when empty
	RemoteID        string
	PSK             string
	IKEProposals    string // strongSwan's words, for example aes128gcm16-prfsha256-ecp256
	ESPProposals    string
	LivenessSeconds int // between liveness checks of a silent peer, off when 0
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
const plugins = "random nonce openssl gcm kdf aes sha1 sha2 hmac %skernel-netlink socket-default vici"

// Rekeying is never started by time here: tests start it, or the other side does.
var strongswanConf = template.Must(template.New("strongswan.conf").Parse(`charon-systemd {
  load_modular = no
  load = {{.Plugins}}
  retransmit_tries = 4
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
}
`))

var swanctlConf = template.Must(template.New("swanctl.conf").Parse(`connections {
  {{.Name}} {
    version = 2
    local_addrs = {{.Local}}
    remote_addrs = {{.Remote}}
    proposals = {{.IKEProposals}}
    rekey_time = 0
    dpd_delay = {{.LivenessSeconds}}s
    local {
      auth = psk
      id = {{.LocalID}}
    }
    remote {
      auth = psk
      id = {{.RemoteID}}
    }
    children {
      {{.Name}} {
        local_ts = {{.LocalNet}}
        remote_ts = {{.RemoteNet}}
        esp_proposals = {{.ESPProposals}}
        mode = tunnel
        rekey_time = 0
        start_action = none
        close_action = none
      }
    }
  }
}
secrets {
  ike-{{.Name}} {
    id-1 = {{.LocalID}}
    id-2 = {{.RemoteID}}
    secret = "{{.PSK}}"
  }
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
