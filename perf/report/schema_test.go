package report

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// docs/schema/lab.json describes all that is in a report, and nothing else is in one.
func TestSchemaDescribesReports(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/schema/lab.json")
	if err != nil {
		t.Fatal(err)
	}
	full := sample()
	full.Rows[0].Detail = map[string]int{"trials": 12}
	empty := New("rfc2544", []string{"sallyport"}, Machine{}, full.Started)
	for name, r := range map[string]*Report{"full": full, "empty": empty} {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
