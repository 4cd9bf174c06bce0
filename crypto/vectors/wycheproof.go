package vectors

import (
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/c2sp/wycheproof"
)

// WycheproofGroup is a group of vectors of one file: of the schemas aead_test, mac_test and ind_cpa_test those fields that are used, and those of
// key exchanges. Sizes are bits.
type WycheproofGroup struct {
	KeySize, IVSize, TagSize int
	Tests                    []WycheproofVector
}

// WycheproofVector is one case of a file.
type WycheproofVector struct {
	ID                         int `json:"tcId"`
	Comment                    string
	Key, IV, AAD, Msg, CT, Tag string // hexadecimal, as all that follows
	Public, Private, Shared    string // of schemas ecdh_test and xdh_comp
	Seed, M, EK, C, K          string // of the schemas of ML-KEM
	Result                     string // "valid", "invalid" or "acceptable"
}

// Wycheproof reads a file of the project of that name, which collects what implementations got wrong.
func Wycheproof(file string) ([]WycheproofGroup, error) {
	content, err := fs.ReadFile(wycheproof.TestVectors, file)
	if err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	var all struct{ TestGroups []WycheproofGroup }
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, fmt.Errorf("vectors: %s: %w", file, err)
	}
	return all.TestGroups, nil
}
