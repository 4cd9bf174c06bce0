package peers

import "fmt"

// Hub makes a tunnel one for any number of peers at once, by either version of IKE: each may come from anywhere, authenticates as whatever address it has, and
// gets what it asks for of the remote network. With few in the log, as of a gateway that is measured. The namespace has to have an address of the local network: ESP in user
// space routes by it.
func Hub(t Tunnel) Tunnel {
	t.RemoteID = "%any"
	t.Connection += "version = 0\nremote_addrs = %any\n"
	t.Settings += fmt.Sprintf(hubSettings, hubIKESAs, hubSegments)
	return t
}

// What the daemon's manual has for many tunnels: a larger table of IKE SAs with more locks. One peer's first messages are not held back, and a cookie is demanded as soon as
// by a gateway of ours.
const (
	hubIKESAs   = 4096
	hubSegments = 16

	hubSettings = `ikesa_table_size = %d
  ikesa_table_segments = %d
  cookie_threshold = 32
  block_threshold = 0
  filelog {
    lab {
      default = 0
      ike = 0
      flush_line = no
    }
  }
`
)
