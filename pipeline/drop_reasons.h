/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_DROP_REASONS_H
#define SP_DROP_REASONS_H

/*
 * Every reason for which a data core discards a packet: X(symbol, name). The enum, the counters' width and the names that operators see all come from
 * this one list; Go reads the names through sp_drop_reason_name and never spells them again.
 */
#define SP_DROP_REASONS(X) \
	/* frame and IPv4 header */ \
	X(SEGMENTS, "segments")                           /* received in several buffers */ \
	X(TRUNCATED, "truncated")                         /* shorter than the headers it announces */ \
	X(OTHER_MAC, "other_mac")                         /* unicast to another station's MAC address */ \
	X(LINK_BROADCAST, "link_broadcast")               /* unicast IP inside a link-layer broadcast (RFC 1812 5.3.4) */ \
	X(ETHER_TYPE, "ether_type")                       /* neither IPv4, IPv6 nor ARP */ \
	X(ARP_ND_INVALID, "arp_nd_invalid")               /* ARP or neighbour discovery that is malformed, or in another station's name than its frame's */ \
	X(ARP_ND_OTHER, "arp_nd_other")                   /* asks for an address that is not the port's */ \
	X(ARP_ND_UNASKED, "arp_nd_unasked")               /* answers what nobody here has asked */ \
	X(UNKNOWN_VLAN, "unknown_vlan")                   /* tagged with a VLAN that no port of the device has, untagged where no port is, or tagged twice */ \
	X(IP_VERSION, "ip_version")                       /* the version field is not the EtherType's */ \
	X(IP_HEADER_LENGTH, "ip_header_length")           /* IHL below 5 or beyond the packet */ \
	X(IP_TOTAL_LENGTH, "ip_total_length")             /* total length below the header or beyond the frame */ \
	X(IP_CHECKSUM, "ip_checksum")                     \
	X(IP_OPTIONS, "ip_options")                       /* malformed, or a source route */ \
	X(IPV6_LENGTH, "ipv6_length")                     /* IPv6 payload beyond the frame */ \
	X(IPV6_EXTENSION, "ipv6_extension")               /* an extension header beyond the packet, or out of order */ \
	X(IPV6_CHAIN, "ipv6_chain")                       /* more extension headers than RFC 8200 4.1 has */ \
	X(IPV6_OPTIONS, "ipv6_options")                   /* an option beyond its extension header */ \
	X(IPV6_JUMBO, "ipv6_jumbo")                       /* a jumbogram (RFC 2675) */ \
	X(IPV6_ROUTING, "ipv6_routing")                   /* a routing header of type 0 or 2 or with segments left (RFC 5095) */ \
	X(NO_PAYLOAD, "no_payload")                       /* ends where a transport header, ESP, AH or what they carry must begin */ \
	X(L4_TRUNCATED, "l4_truncated")                   /* no room for the ports of TCP, UDP, SCTP, UDP-Lite or DCCP */ \
	X(BAD_SOURCE, "bad_source")                       /* 0/8, 127/8, ::/96, ::ffff:0:0/96, multicast, broadcast or one of our own addresses */ \
	X(BAD_DESTINATION, "bad_destination")             /* 0/8, 127/8, 240/4, ::/96 or ::ffff:0:0/96 */ \
	X(MULTICAST, "multicast")                         /* a filter would protect it, which IKE cannot (S-105) */ \
	X(BROADCAST, "broadcast")                         /* likewise */ \
	X(DIRECTED_BROADCAST, "directed_broadcast")       /* to all of an attached subnet, from elsewhere (RFC 2644) */ \
	X(TCP_MULTICAST, "tcp_multicast")                 /* TCP to a multicast or broadcast address */ \
	/* fragments */ \
	X(FRAGMENT_LENGTH, "fragment_length")             /* empty, or not the last one and no multiple of 8 bytes */ \
	X(FRAGMENT_TINY, "fragment_tiny")                 /* the first one ends within the headers, or TCP at offset 8 (RFC 1858, RFC 3128, RFC 7112) */ \
	X(FRAGMENT_OVERRUN, "fragment_overrun")           /* would end beyond 65,535 bytes */ \
	X(FRAGMENT_OVERLAP, "fragment_overlap")           /* its packet has some byte twice, or one behind the last: all of it goes (RFC 5722) */ \
	X(FRAGMENT_COUNT, "fragment_count")               /* its packet has more fragments than a table entry holds */ \
	X(FRAGMENT_MIXED, "fragment_mixed")               /* its packet's fragments came by different ports or tunnels */ \
	X(FRAGMENT_TIMEOUT, "fragment_timeout")           /* the others did not come in time */ \
	X(FRAGMENT_TABLE_FULL, "fragment_table_full")     /* gave its place to newer ones, or found none */ \
	X(FRAGMENT_TOO_LONG, "fragment_too_long")         /* no buffer is large enough for the whole packet, or none is left */ \
	/* policy */ \
	X(FILTER_BLOCK, "filter_block")                   \
	X(NO_FILTER, "no_filter")                         /* nothing matched and the default is block (S-008) */ \
	X(IPV6, "ipv6")                                   /* IPv6 that no filter names (S-022) */ \
	X(PROTOCOL_41, "protocol_41")                     /* IPv6 in IPv4 and no filter names protocol 41 (S-022) */ \
	X(CLEAR_ON_PROTECTED, "clear_on_protected")       /* in clear, but the policy requires a tunnel (S-025) */ \
	X(PROTECT_FROM_UNPROTECTED, "protect_from_unprotected") /* our side's selector, seen in clear on the unprotected side */ \
	X(CLEAR_TO_UNPROTECTED, "clear_to_unprotected")   /* decrypted, and would leave in clear: routed to an unprotected port, or by a soft SA */ \
	X(STALE_ENDPOINT, "stale_endpoint")               /* the filter's tunnel ends at an address that is no longer ours (S-011) */ \
	X(SELECTOR_MISMATCH, "selector_mismatch")         /* outside the SA's negotiated selectors (S-065) */ \
	/* forwarding */ \
	X(NO_ROUTE, "no_route")                           \
	X(LINK_LOCAL, "link_local")                       /* to or from fe80::/10 and not for us: never forwarded (RFC 4291 2.5.6) */ \
	X(TTL_EXPIRED, "ttl_expired")                     \
	X(MTU_EXCEEDED, "mtu_exceeded")                   \
	X(NO_NEIGHBOUR, "no_neighbour")                   /* next hop vanished while the packet was under way */ \
	X(TX_FULL, "tx_full")                             /* transmit queue did not take it */ \
	X(PUNT_FULL, "punt_full")                         /* ring to the slow path full */ \
	X(HANDOVER_FULL, "handover_full")                 /* ring to the SA's owner full */ \
	/* outbound */ \
	X(NO_OUTBOUND_SA, "no_outbound_sa")               \
	X(BLOCKED_NEGOTIATION_FAILED, "blocked_negotiation_failed") /* no SA, and IKE has given up for now (S-024) */ \
	X(LIFETIME_EXPIRED, "lifetime_expired")           /* the SA has carried all it may, either way */ \
	X(SEQ_EXHAUSTED, "seq_exhausted")                 /* RFC 4303 3.3.3: the counter never cycles (S-080) */ \
	X(NO_ROOM, "no_room")                             /* head- or tailroom too small for ESP */ \
	X(NO_BUFFER, "no_buffer")                         /* none left to cut the packet into fragments */ \
	X(CRYPTO_ERROR, "crypto_error")                   /* device refused or failed the operation */ \
	X(CRYPTO_QUEUE_FULL, "crypto_queue_full")         /* no room to wait for the device */ \
	X(CRYPTO_DEVICE_LOST, "crypto_device_lost")       /* the device has stopped answering */ \
	/* inbound */ \
	X(ESP_TRUNCATED, "esp_truncated")                 /* no room for SPI, sequence number, IV, trailer and ICV */ \
	X(ESP_LENGTH, "esp_length")                       /* ciphertext not a whole number of blocks */ \
	X(AH_TRUNCATED, "ah_truncated")                   /* no room for AH with its ICV */ \
	X(AH_LENGTH, "ah_length")                         /* AH's length field is not what the SA's ICV takes (RFC 4302 2.2) */ \
	X(AH_HEADERS, "ah_headers")                       /* more headers in front of AH than it is computed over, or a fragment header */ \
	X(BUNDLE, "bundle")                               /* not AH around ESP, of an SA that is one of the two (RFC 4301 4.4.1) */ \
	X(NESTED, "nested")                               /* ESP or AH for us inside a tunnel: taken apart once only */ \
	X(NO_INBOUND_SA, "no_inbound_sa")                 /* unknown SPI, or another protocol's (S-063) */ \
	X(EARLY_FULL, "early_full")                       /* came before its SA, and found no room to wait for it */ \
	X(ENCAPSULATION, "encapsulation")                 /* UDP-encapsulated on a plain SA or the reverse */ \
	X(REPLAY_OLD, "replay_old")                       /* left of the replay window */ \
	X(REPLAY_DUPLICATE, "replay_duplicate")           \
	X(AUTH_FAILED, "auth_failed")                     /* ICV wrong */ \
	X(INLINE_SESSION, "inline_session")               /* marked as opened by a port that has no session of its SA */ \
	X(INLINE_WINDOW, "inline_window")                 /* authentic, but the port has not opened it, and the window of its SA is the port's */ \
	X(BAD_PADDING, "bad_padding")                     /* pad length or pad bytes wrong (RFC 4303 2.4) */ \
	X(NEXT_HEADER, "next_header")                     /* neither IPv4 nor IPv6 in ESP */ \
	X(TUNNEL_CLOSED, "tunnel_closed")                 /* decrypted, and its tunnel was closed while it waited */ \
	X(DUMMY, "dummy")                                 /* traffic-flow-confidentiality packet (RFC 4303 2.6) */ \
	X(INNER_HEADER, "inner_header")                   /* decrypted header malformed */ \
	X(ECN, "ecn")                                     /* CE outside, not-ECT inside (RFC 6040 4.2) */ \
	X(UDP_CHECKSUM, "udp_checksum")                   /* ESP in UDP with a checksum that is neither 0 nor right (RFC 3948 2.1) */ \
	X(NAT_KEEPALIVE, "nat_keepalive")                 /* RFC 3948 2.3 */ \
	/* packets of our own slow path */ \
	X(REPLY_UNPROTECTED, "reply_unprotected")         /* reply to a tunnelled packet that no tunnel would carry back */ \
	X(INJECT_INVALID, "inject_invalid")

enum sp_drop_reason {
#define SP_DROP_ENUM(symbol, name) SP_DROP_##symbol,
	SP_DROP_REASONS(SP_DROP_ENUM)
#undef SP_DROP_ENUM
	SP_DROP_COUNT
};

/* In place of a reason. */
#define SP_PASS 0xff     /* nothing speaks against the packet */
#define SP_FRAGMENT 0xfd /* nothing does, but it is a fragment */
#define SP_TAKEN 0xfc    /* it was a fragment and is out of the caller's hands */
_Static_assert(SP_DROP_COUNT < SP_TAKEN, "drop reasons fit a byte");

#endif
