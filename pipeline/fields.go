package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"cmp"
	"fmt"
)

// defaultTTL is that of outer headers.
const defaultTTL = uint8(64)

// validate checks what an SA's configuration says of its outer headers.
func (e *Encapsulation) validate() error {
	switch {
	case e.DF > DFClear:
		return fmt.Errorf("DF policy %d: want copy (%d), set (%d) or clear (%d)", e.DF, DFCopy, DFSet, DFClear)
	case e.DSCP != nil && *e.DSCP > 63:
		return fmt.Errorf("DSCP %d: want 0 to 63 (RFC 2474 section 3)", *e.DSCP)
	case e.MSSClamp < MSSClampAutomatic || e.MSSClamp > 65535:
		return fmt.Errorf("MSS clamp of %d bytes: want 1 to 65535, 0 for none or %d for what fits", e.MSSClamp, MSSClampAutomatic)
	case e.DummyEvery < 0:
		return fmt.Errorf("dummy packets every %s: want a time, 0 for none", e.DummyEvery)
	case e.TFCPad < 0 || e.TFCPad > 65535:
		return fmt.Errorf("padding up to %d bytes: want 0 to 65535", e.TFCPad)
	}
	return nil
}

func (e *Encapsulation) toC() C.struct_sp_encapsulation {
	c := C.struct_sp_encapsulation{
		df:             C.uint8_t(e.DF), // same order as enum sp_df
		dscp:           C.SP_DSCP_COPY,
		ecn_off:        flag(e.ECNOff),
		ttl:            C.uint8_t(cmp.Or(e.TTL, defaultTTL)),
		fragment_after: flag(e.FragmentAfter),
		mss_automatic:  flag(e.MSSClamp == MSSClampAutomatic),
		mss:            C.uint16_t(max(e.MSSClamp, 0)),
		tfc_pad:        C.uint16_t(e.TFCPad),
	}
	if e.DSCP != nil {
		c.dscp = C.uint8_t(*e.DSCP)
	}
	return c
}
