package offload

import (
	"os"
	"testing"

	"sallyport/pmd/eal/ealtest"
)

func TestMain(m *testing.M) { os.Exit(ealtest.Run(m, 256)) }
