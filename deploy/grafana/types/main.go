// Reads a dashboard as Grafana's own published types have it: exit code 1 and a line for each field that they do not
// know, that they miss, or whose value is of another type.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins() // the types of each kind of panel and query
	raw, err := os.ReadFile(os.Args[1])
	complain(err)
	var read dashboard.Dashboard
	complain(read.UnmarshalJSONStrict(raw))
	complain(read.Validate())
}

// complain ends the program with what is wrong. An error without a word is none: the library makes an empty list of
// errors of a part in which it has found nothing.
func complain(err error) {
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
