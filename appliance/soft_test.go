package appliance

import "sallyport/policy/soft"

// generousSoft is the limits as shipped.
var generousSoft = soft.Limits{Allow: true, Max: 4096, MaxPerPeer: 256, Alarm: 256, InboundPerSource: 6, InboundPerFilter: 60}
