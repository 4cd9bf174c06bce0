package config

import (
	"fmt"
	"slices"
	"strings"
)

// unknown says what to do about a key that is none of the known ones.
func unknown(name, path string, known []string) string {
	if why := refusal(schemaPath(path), name); why != "" {
		return "there is no such key: " + why
	}
	near := synonyms[name]
	if !slices.Contains(known, near) {
		near = nearest(name, known)
	}
	if near != "" {
		return fmt.Sprintf("unknown key: did you mean %s?", near)
	}
	return "unknown key: expected one of " + strings.Join(known, ", ")
}

// mayBeSecret reports whether an unknown key may be a preshared key that stands where its file's name belongs.
func mayBeSecret(name, path string, known []string) bool {
	return holdsKeys(path, name) && refusal(schemaPath(path), name) == "" && synonyms[name] == "" && nearest(name, known) == ""
}

// holdsKeys reports whether a word in the place of a key at the path may be a secret.
func holdsKeys(path, word string) bool {
	const shortest = 16 // hexadecimal digits of a key that nobody takes for a word
	switch schemaPath(path) {
	case "peers[].auth", "policies[].default_response.auth":
		return true
	case "sas[]":
		return len(word) >= shortest
	}
	return false
}

// synonyms are the words of other systems for keys of this one that are spelt too differently to be near.
var synonyms = map[string]string{
	"src": "source", "dst": "destination", "proto": "protocol", "sport": "source_port", "dport": "destination_port",
	"src_port": "source_port", "dst_port": "destination_port", "mirror": "mirrored",
	"list": "filter_list", "action": "filter_action", "interfaces": "ports", "psk": "psk_file", "secret": "psk_file",
}

// refusal is why a key that people look for does not exist, or "".
func refusal(parent, name string) string {
	if why, refused := refusedKeys[join(parent, name)]; refused {
		return why
	}
	if thing, has := unordered[parent]; has && slices.Contains(orderKeys, name) {
		return fmt.Sprintf("the order of %s has no effect: the most specific filter decides", thing)
	}
	if parent == "policies[].rules[]" && slices.Contains(policyLevelKeys, name) {
		return "it holds for a policy as a whole: write it beside rules"
	}
	return ""
}

// orderKeys are the words by which other systems order rules (S-007).
var orderKeys = []string{"priority", "order", "weight", "sequence", "seq", "index", "position", "precedence", "rank", "metric", "number"}

// unordered are the things that other systems order, by the key of one.
var unordered = map[string]string{
	"policies[]": "policies", "policies[].rules[]": "rules", "filter_lists[]": "filter lists", "filter_lists[].filters[]": "filters",
	"filter_actions[]": "filter actions",
}

// policyLevelKeys hold whatever the rules say (S-003). The fifth of them is the policy's name; a rule has its own.
var policyLevelKeys = []string{"policy_name", "description", "refresh_seconds", "key_exchange", "key_exchange_methods", "default_action", "default_response", "sample"}

const (
	fixedResponse = "the default response rule answers whom it has not heard of: its list is always <Dynamic> and its action always negotiate; only enabled, ike, esp_proposals, auth_methods, local_id and auth can be set"
	oneList       = "a rule holds exactly one filter list: name it with filter_list, and write a rule for each other one"
	oneAction     = "a rule holds exactly one filter action: name it with filter_action"
	keyInFile     = "a key in this file would be read by everyone who reads the configuration, its backups and its history: put it alone into a file with mode 0600 and name that with psk_file"
	peerEnds      = "the ends of a rule's tunnel are local and remote of its peer: name that with peer"
)

// refusedKeys are keys that people look for and that do not exist for a reason.
var refusedKeys = map[string]string{
	"policies[].default_response.auth.psk":      keyInFile,
	"peers[].auth.psk":                          keyInFile,
	"sas[].udp.local_port":                      "ESP in UDP is received and sent at port 4500 of this end (RFC 3948); remote_port is what the other end, or its NAT, uses",
	"soft.lifetime":                             "a soft SA ends 300 seconds after its creation, whatever passes by it; sallyport sa flush --soft ends all of them at once", // S-047
	"policies[].rules[].filters":                oneList,
	"policies[].rules[].filter_lists":           oneList,
	"policies[].rules[].filter_actions":         oneAction,
	"policies[].rules[].tunnel":                 peerEnds,
	"policies[].rules[].tunnel_endpoint":        peerEnds,
	"policies[].default_response.filter_list":   fixedResponse, // S-009
	"policies[].default_response.filter_action": fixedResponse,
	"policies[].default_response.psk_file":      "files to authenticate with are in auth: default_response: {enabled: true, auth: {psk_file: FILE}}",
	"policies[].default_response.name":          fixedResponse,
	"policies[].default_response.ports":         fixedResponse,
	"policies[].default_response.peer":          fixedResponse,
}
