package cli

import (
	"github.com/spf13/cobra"

	"modelops/bridges/trainer"
)

// runnerCommand runs the attempt of a job that the daemon has prepared in a folder. It outlives the daemon.
func (c *cli) runnerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "runner FOLDER", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Run an attempt of a job, as the daemon's child",
		RunE: func(cmd *cobra.Command, args []string) error {
			return typed(trainer.Run(cmd.Context(), args[0], c.stdout))
		},
	}
}
