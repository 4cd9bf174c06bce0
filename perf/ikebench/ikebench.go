package ikebench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// The tables that the rows name.
const (
	tableRates  = "ike-rates"
	tableHold   = "ike-memory"
	tableUpkeep = "ike-upkeep"

	tableRefusals = "ike-refusals"
)

// Run measures, prints the tables and returns their rows. Quick proves that it works and measures nothing.
func Run(ctx context.Context, out io.Writer, quick bool) (rows []any, err error) {
	windows, negotiations, pairs, messages, minutes := 7, 500, 10_000, 20_000, 2*time.Minute
	if quick {
		windows, negotiations, pairs, messages, minutes = 2, 5, 20, 50, time.Minute
	}
	byP256, err := certificates(P256)
	if err != nil {
		return nil, err
	}
	byRSA, err := certificates(RSA2048)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, ratesHeading, negotiations, windows)
	for _, r := range []struct {
		method method
		cookie bool
	}{{psk(), false}, {psk(), true}, {byP256, false}, {byRSA, false}, {psk().byV1(), false}, {byP256.byV1(), false}, {byRSA.byV1(), false}} {
		if err := ctx.Err(); err != nil {
			return rows, err
		}
		row, err := rates(r.method, r.cookie, windows, negotiations)
		if err != nil {
			return rows, err
		}
		fmt.Fprintf(out, "%-4s %-14s %-7s %-24s %-24s %10.0f  %10.0f  %6.0f\n", row.Version, row.Authentication, map[bool]string{false: "no", true: "yes"}[row.Cookie],
			fmt.Sprintf("%.0f (%.0f-%.0f)", row.Initiator, row.InitiatorMin, row.InitiatorMax),
			fmt.Sprintf("%.0f (%.0f-%.0f)", row.Responder, row.ResponderMin, row.ResponderMax), 1e6/row.Arithmetic, row.CheckMicros, row.Bytes)
		rows = append(rows, row)
	}
	fmt.Fprint(out, refusalsHeading)
	for _, f := range floods() {
		if err := ctx.Err(); err != nil {
			return rows, err
		}
		row, err := refusals(f, windows, messages)
		if err != nil {
			return rows, err
		}
		fmt.Fprintf(out, "%-4s %-20s %-24s %8.0f %8.0f\n", row.Version, row.Why, fmt.Sprintf("%.0f (%.0f-%.0f)", row.Rate, row.Min, row.Max), row.Target, row.Bytes)
		rows = append(rows, row)
	}
	for _, m := range []method{psk(), byP256, psk().byV1(), byP256.byV1()} {
		if err := ctx.Err(); err != nil {
			return rows, err
		}
		row, err := hold(m, pairs)
		if err != nil {
			return rows, err
		}
		fmt.Fprintf(out, "\n%d IKE SAs of IKE%s with one Child SA each, by %s: %.1f KiB of Go memory for each [%.0f], and %.1f KiB for the peer's configuration\n",
			row.Pairs, row.Version, row.Authentication, row.Bytes/1024, row.Target/1024, row.Peer/1024)
		rows = append(rows, row)
	}
	if err := ctx.Err(); err != nil {
		return rows, err
	}
	row, err := upkeep(psk(), pairs, minutes)
	if err != nil {
		return rows, err
	}
	fmt.Fprintf(out, "\n%d tunnels that nobody uses, lifetime %s: liveness takes %.2f %% of a core (%d checks an hour), rekeys %.2f %% (%d an hour), together %.2f %% [%.0f %%]\n",
		row.Tunnels, row.Lifetime, row.Liveness, row.Checks, row.Rekey, row.Rekeys, row.Together, row.Target)
	return append(rows, row), nil
}

const ratesHeading = `
IKE SAs with one Child SA, a second of one core; AES-GCM-128 and Curve25519, by IKEv1 AES-CBC, SHA-256 and P-256 for IKE; ends joined in memory,
%d in each of %d windows
                           initiator                responder                a core's bound  check of a   bytes on
ike  authentication cookie median (min-max)         median (min-max)         by arithmetic   chain, us    the wire
`
