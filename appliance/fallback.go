package appliance

import (
	"fmt"
	"time"

	"sallyport/policy/soft"
)

// fallbackText is why a peer's traffic does not pass in clear, for people. Closed is that no negotiation is begun, whose silence would let it.
func fallbackText(st soft.State, closed bool, now time.Time) string {
	switch {
	case closed && !st.Fallback: // nobody that is negotiated with
		return "refused: IKE is off (ike.enabled or ports[].ike), so nobody is asked by it, and there is no silence"
	case closed && st.Shut != soft.Denied:
		return "refused: the tunnel is closed until `sallyport up`, so nobody is asked by IKE, and there is no silence"
	case st.Shut == soft.Heard:
		return fmt.Sprintf("refused for %s more: something came from the peer's address to our IKE ports, and who speaks IKE gets no clear text", st.Until.Sub(now).Round(time.Second))
	case st.Shut == soft.Authenticated:
		return "refused: the peer has proved who it is before, so it speaks IPsec, and silence may be somebody who drops its packets"
	case st.Shut == soft.Denied:
		return "refused: soft_sa: deny forbids it on this gateway"
	case st.Full == soft.FullOfPeer:
		return "refused unless it waits already: there are as many soft SAs of this peer as soft.max_per_peer says, those counted that wait to be one"
	case st.Full == soft.Full:
		return "refused unless it waits already: there are as many soft SAs as soft.max says, those counted that wait to be one"
	case st.Waiting > 0:
		return "it waits: once four first messages have gone without any answer, three seconds and more, it passes in clear" + doubtText(st, now)
	}
	return "possible: once four first messages have gone without any answer, three seconds and more, it passes in clear" + doubtText(st, now)
}

// doubtText is why the silence of a peer has proved nothing before, and so nothing if it never has.
func doubtText(st soft.State, now time.Time) string {
	why := ""
	switch st.Doubt {
	case soft.Lost:
		why = "messages to our IKE ports were dropped before anybody read them, and one may have been its answer"
	case soft.Unsent:
		why = "messages to it may not have left: its next hop did not answer, its link was down or its port failed to send"
	default:
		return ""
	}
	return fmt.Sprintf(". It waited before, and %s ago that began anew, for silence proved nothing: %s", max(now.Sub(st.Doubted), 0).Round(time.Second), why)
}
