package cli

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Args: cobra.NoArgs,
		Short: "Print this program's version",
		RunE:  act(func(context.Context, []string) error { return c.printVersion() }),
	}
}

func (c *cli) printVersion() error {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if c.asJSON {
		return printJSON(c.stdout, map[string]string{"version": c.program.Version, "go": runtime.Version(), "platform": platform})
	}
	_, err := fmt.Fprintf(c.stdout, "modelops %s (%s, %s)\n", c.program.Version, runtime.Version(), platform)
	return err
}
