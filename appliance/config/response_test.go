package config

import (
	"slices"
	"strings"
	"testing"

	"sallyport/ike"
)

// The default response rule authenticates by each of its methods, in their order, with files of its own; files of a rule that is off are not read.
// S-009: its authentication methods, ordered.
func TestDefaultResponseAuthentication(t *testing.T) {
	folder, root := authFolder(t)
	writeKey(t, folder, "strangers.psk", "Zr8Kq3XvT6mWb1NcY9HsJ4pLd7GfQ")
	with := func(response string) string {
		return replaced(t, "    rules:\n", "    default_response: {"+response+"}\n    rules:\n")
	}
	for response, want := range map[string][]ike.AuthMethod{
		"enabled: true, auth: {" + byCertificate + "}":                                                            {ike.AuthSignature},
		"enabled: true, auth: {" + byCertificate + ", psk_file: strangers.psk}":                                   {ike.AuthSignature, ike.AuthPSK},
		"enabled: true, auth_methods: [psk, certificate], auth: {" + byCertificate + ", psk_file: strangers.psk}": {ike.AuthPSK, ike.AuthSignature},
		"enabled: true, auth_methods: [psk], auth: {" + byCertificate + ", psk_file: strangers.psk}":              {ike.AuthPSK},
		"enabled: false, auth: {psk_file: missing.psk}":                                                           nil,
	} {
		c, err := parseIn(folder, with(response))
		if err != nil {
			t.Errorf("%s: %v", response, err)
			continue
		}
		var methods []ike.AuthMethod
		for _, p := range c.DefaultResponse {
			methods = append(methods, p.RemoteAuth)
			if p.LocalAuth != p.RemoteAuth || p.RemoteAuth == ike.AuthSignature && (p.Credential == nil || len(p.Authorities) != 1) {
				t.Errorf("%s: template %+v", response, p)
			}
		}
		trust := c.Auth.Trust["<Dynamic>"]
		if !slices.Equal(methods, want) || (trust != nil) != slices.Contains(want, ike.AuthSignature) || trust != nil && !trust.Authorities.Certificates()[0].Equal(root.Certificate) {
			t.Errorf("%s: methods %v, want %v; trust %+v", response, methods, want, trust)
		}
		if warns(c, "can pose as any other") != slices.Contains(want, ike.AuthPSK) || warns(c, "whoever has a certificate of its CAs") != slices.Contains(want, ike.AuthSignature) {
			t.Errorf("%s: warnings %q", response, c.Warnings)
		}
		c.Wipe()
	}
	c, err := parseIn(folder, strings.Replace(with("enabled: true, local_id: elsewhere.example, auth: {"+byCertificate+"}"), "dataplane: {", "dataplane: {max_tunnels: 10, ", 1))
	if err != nil {
		t.Fatal(err)
	}
	if !warns(c, "does not name what we call ourselves (elsewhere.example)") || !warns(c, "room for 9 peers") {
		t.Errorf("warnings %q", c.Warnings)
	}
	for word, version := range map[string]ike.Version{"": ike.V2, "ike: v2, ": ike.V2, "ike: v1, ": ike.V1, "ike: any, ": ike.VAny} {
		c, err := parseIn(folder, with("enabled: true, "+word+"auth: {psk_file: strangers.psk}"))
		if err != nil {
			t.Fatal(err)
		}
		if warns(c, "may answer strangers by IKEv1, which is retired") != (version != ike.V2) {
			t.Errorf("%q: warnings %q", word, c.Warnings)
		}
		if p := c.DefaultResponse[0]; p.Version != version || (len(p.IKEProposals) == 0) != (version == ike.VAny) {
			t.Errorf("%q: template of %v with proposals %v", word, p.Version, p.IKEProposals)
		}
	}
	c, err = parseIn(folder, with("enabled: true, auth: {psk_file: strangers.psk}")+"ike: {enabled: false}\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.DefaultResponse) != 0 {
		t.Errorf("with IKE off: %+v", c.DefaultResponse)
	}
	for response, want := range map[string]string{
		"enabled: true, ike: v3, auth: {psk_file: strangers.psk}":                                         "ike: expected v2, v1 or any",
		"enabled: true, ike: v1, esp_proposals: [chacha20poly1305], auth: {psk_file: strangers.psk}":      "ike: peer \"<Dynamic>\": child \"<Dynamic>\": no proposal is left for IKEv1",
		"enabled: true, auth: {certificate_file: own.pem, ca_files: [ca.pem]}":                            "auth.certificate_file: expected private_key_file beside it",
		"enabled: true, auth: {certificate_file: own.pem, private_key_file: own.key}":                     "auth: expected ca_files, here or in auth at the top",
		"enabled: true, auth: {certificate_file: own.pem, private_key_file: own.key, ca_files: [no.pem]}": "auth.ca_files[0]: expected a file with the certificates of CAs",
	} {
		if _, err := parseIn(folder, with(response)); err == nil || !strings.Contains(err.Error(), "policies[0].default_response."+want) {
			t.Errorf("%s: error %v, want %s", response, err, want)
		}
	}
}
