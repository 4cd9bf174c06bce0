//go:build softnic

package main

// The lab's build: ports that SALLYPORT_SOFTNIC names have software NICs.
import _ "sallyport/offload/softnic/atstart"
