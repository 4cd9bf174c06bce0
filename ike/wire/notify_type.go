package wire

// NotifyType is the kind of a notification, RFC 7296 3.10.1. Below 16384 it is an error that refuses the request, from there on a status.
type NotifyType uint16

const firstStatus NotifyType = 16384

// Errors.
const (
	NotifyUnsupportedCriticalPayload NotifyType = 1
	NotifyInvalidIKESPI              NotifyType = 4
	NotifyInvalidMajorVersion        NotifyType = 5
	NotifyInvalidSyntax              NotifyType = 7
	NotifyInvalidMessageID           NotifyType = 9
	NotifyInvalidSPI                 NotifyType = 11
	NotifyNoProposalChosen           NotifyType = 14
	NotifyInvalidKEPayload           NotifyType = 17
	NotifyAuthenticationFailed       NotifyType = 24
	NotifySinglePairRequired         NotifyType = 34
	NotifyNoAdditionalSAs            NotifyType = 35
	NotifyInternalAddressFailure     NotifyType = 36
	NotifyFailedCPRequired           NotifyType = 37
	NotifyTSUnacceptable             NotifyType = 38
	NotifyInvalidSelectors           NotifyType = 39
	NotifyUnacceptableAddresses      NotifyType = 40 // RFC 4555 4.1
	NotifyUnexpectedNATDetected      NotifyType = 41 // RFC 4555 4.1
	NotifyTemporaryFailure           NotifyType = 43
	NotifyChildSANotFound            NotifyType = 44
	NotifyTSMaxQueue                 NotifyType = 48 // RFC 9611 5.2
	NotifyStateNotFound              NotifyType = 47 // RFC 9370 2.2.4
)

// Statuses.
const (
	NotifyInitialContact            NotifyType = 16384
	NotifySetWindowSize             NotifyType = 16385
	NotifyAdditionalTSPossible      NotifyType = 16386
	NotifyIPCompSupported           NotifyType = 16387
	NotifyNATDetectionSourceIP      NotifyType = 16388
	NotifyNATDetectionDestinationIP NotifyType = 16389
	NotifyCookie                    NotifyType = 16390
	NotifyUseTransportMode          NotifyType = 16391
	NotifyHTTPCertLookupSupported   NotifyType = 16392
	NotifyRekeySA                   NotifyType = 16393
	NotifyESPTFCPaddingNotSupported NotifyType = 16394
	NotifyNonFirstFragmentsAlso     NotifyType = 16395
	NotifyMOBIKESupported           NotifyType = 16396 // RFC 4555 4.2, as those up to NO_NATS_ALLOWED
	NotifyAdditionalIPv4Address     NotifyType = 16397
	NotifyAdditionalIPv6Address     NotifyType = 16398
	NotifyNoAdditionalAddresses     NotifyType = 16399
	NotifyUpdateSAAddresses         NotifyType = 16400
	NotifyCookie2                   NotifyType = 16401
	NotifyNoNATsAllowed             NotifyType = 16402
	NotifyAuthLifetime              NotifyType = 16403 // RFC 4478 3
	NotifyRedirectSupported         NotifyType = 16406 // RFC 5685 7, as the next two
	NotifyRedirect                  NotifyType = 16407
	NotifyRedirectedFrom            NotifyType = 16408
	NotifyFragmentationSupported    NotifyType = 16430 // RFC 7383 2.3
	NotifySignatureHashAlgorithms   NotifyType = 16431 // RFC 7427 4
	NotifyChildlessSupported        NotifyType = 16418 // RFC 6023 3
	NotifySAResourceInfo            NotifyType = 16444 // RFC 9611 5.1
	NotifyUsePPK                    NotifyType = 16435 // RFC 8784 5.1
	NotifyPPKIdentity               NotifyType = 16436
	NotifyNoPPKAuth                 NotifyType = 16437
	NotifyIntermediateSupported     NotifyType = 16438 // RFC 9242 3.1
	NotifyAdditionalKeyExchange     NotifyType = 16441 // RFC 9370 2.2.4

	// The rest is here for the names only: peers send it and logs show it.
	notifyMultipleAuthSupported  NotifyType = 16404 // RFC 4739
	notifyEAPOnlyAuthentication  NotifyType = 16417 // RFC 5998
	notifyQuickCrashDetection    NotifyType = 16419 // RFC 6290
	notifyMessageIDSyncSupported NotifyType = 16420 // RFC 6311
)

var notifyNames = map[NotifyType]string{
	NotifyUnsupportedCriticalPayload: "UNSUPPORTED_CRITICAL_PAYLOAD",
	NotifyInvalidIKESPI:              "INVALID_IKE_SPI",
	NotifyInvalidMajorVersion:        "INVALID_MAJOR_VERSION",
	NotifyInvalidSyntax:              "INVALID_SYNTAX",
	NotifyInvalidMessageID:           "INVALID_MESSAGE_ID",
	NotifyInvalidSPI:                 "INVALID_SPI",
	NotifyNoProposalChosen:           "NO_PROPOSAL_CHOSEN",
	NotifyInvalidKEPayload:           "INVALID_KE_PAYLOAD",
	NotifyAuthenticationFailed:       "AUTHENTICATION_FAILED",
	NotifySinglePairRequired:         "SINGLE_PAIR_REQUIRED",
	NotifyNoAdditionalSAs:            "NO_ADDITIONAL_SAS",
	NotifyInternalAddressFailure:     "INTERNAL_ADDRESS_FAILURE",
	NotifyFailedCPRequired:           "FAILED_CP_REQUIRED",
	NotifyTSUnacceptable:             "TS_UNACCEPTABLE",
	NotifyInvalidSelectors:           "INVALID_SELECTORS",
	NotifyTemporaryFailure:           "TEMPORARY_FAILURE",
	NotifyChildSANotFound:            "CHILD_SA_NOT_FOUND",
	NotifyTSMaxQueue:                 "TS_MAX_QUEUE",
	NotifyStateNotFound:              "STATE_NOT_FOUND",

	NotifyInitialContact:            "INITIAL_CONTACT",
	NotifySetWindowSize:             "SET_WINDOW_SIZE",
	NotifyAdditionalTSPossible:      "ADDITIONAL_TS_POSSIBLE",
	NotifyIPCompSupported:           "IPCOMP_SUPPORTED",
	NotifyNATDetectionSourceIP:      "NAT_DETECTION_SOURCE_IP",
	NotifyNATDetectionDestinationIP: "NAT_DETECTION_DESTINATION_IP",
	NotifyCookie:                    "COOKIE",
	NotifyUseTransportMode:          "USE_TRANSPORT_MODE",
	NotifyHTTPCertLookupSupported:   "HTTP_CERT_LOOKUP_SUPPORTED",
	NotifyRekeySA:                   "REKEY_SA",
	NotifyESPTFCPaddingNotSupported: "ESP_TFC_PADDING_NOT_SUPPORTED",
	NotifyNonFirstFragmentsAlso:     "NON_FIRST_FRAGMENTS_ALSO",
	NotifyFragmentationSupported:    "IKEV2_FRAGMENTATION_SUPPORTED",
	NotifySignatureHashAlgorithms:   "SIGNATURE_HASH_ALGORITHMS",
	NotifyChildlessSupported:        "CHILDLESS_IKEV2_SUPPORTED",
	NotifyAuthLifetime:              "AUTH_LIFETIME",
	NotifyRedirectSupported:         "REDIRECT_SUPPORTED",
	NotifyRedirect:                  "REDIRECT",
	NotifyRedirectedFrom:            "REDIRECTED_FROM",
	NotifyUnacceptableAddresses:     "UNACCEPTABLE_ADDRESSES",
	NotifyUnexpectedNATDetected:     "UNEXPECTED_NAT_DETECTED",
	NotifyMOBIKESupported:           "MOBIKE_SUPPORTED",
	NotifyAdditionalIPv4Address:     "ADDITIONAL_IP4_ADDRESS",
	NotifyAdditionalIPv6Address:     "ADDITIONAL_IP6_ADDRESS",
	NotifyNoAdditionalAddresses:     "NO_ADDITIONAL_ADDRESSES",
	NotifyUpdateSAAddresses:         "UPDATE_SA_ADDRESSES",
	NotifyCookie2:                   "COOKIE2",
	NotifyNoNATsAllowed:             "NO_NATS_ALLOWED",
	NotifySAResourceInfo:            "SA_RESOURCE_INFO",
	NotifyUsePPK:                    "USE_PPK",
	NotifyPPKIdentity:               "PPK_IDENTITY",
	NotifyNoPPKAuth:                 "NO_PPK_AUTH",
	NotifyIntermediateSupported:     "INTERMEDIATE_EXCHANGE_SUPPORTED",
	NotifyAdditionalKeyExchange:     "ADDITIONAL_KEY_EXCHANGE",

	notifyMultipleAuthSupported:  "MULTIPLE_AUTH_SUPPORTED",
	notifyEAPOnlyAuthentication:  "EAP_ONLY_AUTHENTICATION",
	notifyQuickCrashDetection:    "QUICK_CRASH_DETECTION",
	notifyMessageIDSyncSupported: "IKEV2_MESSAGE_ID_SYNC_SUPPORTED",
}

func (t NotifyType) String() string {
	if t.IsError() {
		return named(notifyNames, "error", t)
	}
	return named(notifyNames, "status", t)
}

// IsError tells an error from a status.
func (t NotifyType) IsError() bool { return t < firstStatus }
