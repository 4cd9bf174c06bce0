package ike

import "testing"

func TestFirstExchanges(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	l.expectWire("a: IKE_SA_INIT request 0")
	l.deliver(0)
	l.expectWire("b: IKE_SA_INIT response 0")
	l.deliver(0)
	l.expectWire("a: IKE_AUTH request 1")
	l.deliver(0)
	l.expectWire("b: IKE_AUTH response 1")
	l.deliver(0)
	l.expectWire()
	l.established("net")
}
