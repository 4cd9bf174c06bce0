package traffic

import (
	"os"
	"testing"

	"sallyport/pmd/eal/ealtest"
)

func TestMain(m *testing.M) { os.Exit(ealtest.Run(m, 512)) }
