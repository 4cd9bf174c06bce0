package ike

import (
	"errors"
	"fmt"

	"sallyport/ike/wire"
)

// A task is one concern of an exchange: it puts its payloads into our message and reads those of the peer's. On the side that began the
// exchange build comes first and process sees the response; on the other side process sees the request and build makes the response.
type task interface {
	// build adds payloads. errNothingToDo, from a task of ours, means that its cause is gone and the exchange need not be.
	build(m *message) error
	// process reads what concerns the task. On the responder's side a *refusal is what we answer; on the initiator's side any error ends
	// the IKE SA, errRepeat apart. Either side may have to wait: errWait, errLost.
	process(m *message) error
	// abandon undoes what the task holds when no response will come.
	abandon()
}

// exchange is a request of ours, sent or waiting for the window.
type exchange struct {
	kind  wire.ExchangeType
	tasks []task

	id      uint32
	message *message // as it was built
	sealed  *sealed
	tries   int
	repeats int
	refused error // IKE_SA_INIT: what a response said that anybody may have sent (claims.go)
}

func (x *exchange) abandon() {
	for _, t := range x.tasks {
		t.abandon()
	}
}

// errNothingToDo is described at task.
var errNothingToDo = errors.New("nothing to do")

// errRepeat asks for the same exchange once more, built anew: after COOKIE and INVALID_KE_PAYLOAD.
var errRepeat = errors.New("repeat the exchange")

// errWait, from process, puts the message aside until taskManager.resume, when an answer from outside has come. Then process is called again with it.
var errWait = errors.New("wait for an answer from outside")

// errLost, from process, has the message count as lost on its way: whoever is to will send again.
var errLost = errors.New("taken for lost")

// maxRepeats bounds how often a peer can make us build a request anew: a cookie, each of our groups, another cookie.
const maxRepeats = 8

// failure is the end of a negotiation with the Reason that Facts give.
type failure struct {
	reason   Reason
	detail   string
	fromPeer bool // the peer said so, and need not be told
	ends     bool // the IKE SA, where a Child SA was all that was asked for
}

func (f *failure) Error() string { return fmt.Sprintf("%s: %s", f.reason, f.detail) }

func failf(reason Reason, format string, args ...any) error {
	return &failure{reason: reason, detail: fmt.Sprintf(format, args...)}
}

// refusal is a failure that the peer is told of. Unless it goes on, the IKE SA ends with it.
type refusal struct {
	failure
	notify *wire.Notify
	goesOn bool
}

func refuse(t wire.NotifyType, reason Reason, format string, args ...any) *refusal {
	return &refusal{failure: failure{reason: reason, detail: fmt.Sprintf(format, args...)}, notify: wire.NewNotify(t, nil)}
}

// askForGroup refuses a KE payload of another group than the one chosen: a step of the negotiation, not its end (RFC 7296 1.3 and 2.7).
func askForGroup(c chosen, found uint16) *refusal {
	r := refuse(wire.NotifyInvalidKEPayload, FailKE, "KE payload of group %d, chosen %v", found, c.dh)
	r.notify, r.goesOn = wire.InvalidKEPayload(uint16(c.dh)), true
	return r
}

// reasonOf gives the Reason and the detail of any error of a task or of open.
func reasonOf(err error) (Reason, string) {
	var f *failure
	var r *refusal
	var critical *wire.CriticalError
	var syntax *wire.SyntaxError
	switch {
	case errors.As(err, &r):
		return r.reason, r.detail
	case errors.As(err, &f):
		return f.reason, f.detail
	case errors.As(err, &critical):
		return FailCritical, err.Error()
	case errors.As(err, &syntax):
		return FailSyntax, err.Error()
	}
	return FailInternal, err.Error()
}

// failureOf translates an error notification of the peer's.
func failureOf(n *wire.Notify) *failure {
	reasons := map[wire.NotifyType]Reason{
		wire.NotifyNoProposalChosen: FailProposal, wire.NotifyInvalidKEPayload: FailKE, wire.NotifyAuthenticationFailed: FailAuthentication,
		wire.NotifyTSUnacceptable: FailSelectors, wire.NotifySinglePairRequired: FailSelectors, wire.NotifyInvalidSyntax: FailSyntax,
		wire.NotifyUnsupportedCriticalPayload: FailCritical, wire.NotifyInvalidMajorVersion: FailVersion,
		wire.NotifyNoAdditionalSAs: FailNoAdditionalSAs, wire.NotifyTSMaxQueue: FailMaxQueue, wire.NotifyTemporaryFailure: FailTemporary, wire.NotifyStateNotFound: FailTemporary, wire.NotifyChildSANotFound: FailNotFound,
	}
	reason, known := reasons[n.Type]
	if !known {
		reason = FailPeer
	}
	return &failure{reason: reason, detail: fmt.Sprintf("peer answered %v", n.Type), fromPeer: true}
}
