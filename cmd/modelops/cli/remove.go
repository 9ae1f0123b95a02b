package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

// unloadAll unloads every model that is loaded. One that refuses doesn't keep the others; the first refusal is the command's error.
func (c *cli) unloadAll(ctx context.Context, k *client, force bool) error {
	resident, err := k.ListResident(ctx, nil)
	if err != nil {
		return err
	}
	var failed error
	unloaded := []string{}
	for _, m := range resident.Models {
		bar := c.progress(m.Name + ": waiting for its requests to finish and its memory to be freed")
		_, err := k.UnloadModel(ctx, &messages.ModelUnloadRequest{ModelName: m.Name, Force: force})
		bar.done()
		switch {
		case err == nil:
			unloaded = append(unloaded, m.Name)
		case failed == nil:
			failed = err
		default:
			c.complain(messages.AsError(err))
		}
		if err == nil && !c.asJSON {
			fmt.Fprintln(c.stdout, m.Name+" is unloaded")
		}
	}
	if c.asJSON {
		if err := printJSON(c.stdout, map[string]any{"unloaded": unloaded}); err != nil {
			return err
		}
	} else if len(resident.Models) == 0 {
		fmt.Fprintln(c.stdout, "no model is loaded")
	}
	return failed
}

func (c *cli) rmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Args: cobra.ExactArgs(1),
		Short: "Unload and forget a model that was declared with load --path; its file stays",
		Long: "rm unloads a model that `modelops load NAME --path FILE` declared, and forgets it. Its file stays. A model of the configuration is\n" +
			"removed there, and with `modelops config apply`.",
		ValidArgsFunction: c.completeModels(1),
		RunE: c.asks(longWait, func(ctx context.Context, k *client, args []string) error {
			m, err := k.named(ctx, args[0])
			if err != nil {
				return err
			}
			if m.GetSpec().GetDeclaredBy() == messages.DeclaredByConfig {
				return messages.NewError(messages.FailedPrecondition, m.Name, "the configuration declares it").
					WithHint("remove it from models.declare and run `modelops config apply`; `modelops unload` only frees its memory")
			}
			bar := c.progress(m.Name + ": waiting for its requests to finish and its memory to be freed")
			defer bar.done()
			if _, err := k.UnloadModel(ctx, &messages.ModelUnloadRequest{ModelName: m.Name}); err != nil {
				return err
			}
			body, err := structpb.NewStruct(map[string]any{"reason": "removed by " + userName()})
			if err != nil {
				return err
			}
			if _, err := k.SendCommand(ctx, &messages.SendRequest{Actor: "model/" + m.Name, Command: "RetireModel", Body: body}); err != nil {
				return err
			}
			bar.done()
			if c.asJSON {
				return printJSON(c.stdout, map[string]any{"removed": m.Name})
			}
			_, err = fmt.Fprintln(c.stdout, m.Name+" is removed; its file stays")
			return err
		}),
	}
}

func (c *cli) showCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use: "show NAME", Args: cobra.ExactArgs(1),
		Short:             "Show a model: what it runs, where, and how it is",
		ValidArgsFunction: c.completeModels(1),
		RunE: c.asks(shortWait, func(ctx context.Context, k *client, args []string) error {
			s, err := k.GetStatus(askedOf(ctx, host), nil)
			if err != nil {
				return err
			}
			m, err := meant(s, args[0], host)
			if err != nil {
				return err
			}
			return show(c, m, func(m *messages.ModelView) error {
				s.Models, s.Hosts = []*messages.ModelView{m}, narrowed(s.Hosts, cmp.Or(host, m.Host))
				defer c.printStale(s.Hosts)
				return c.printModels(s, c.now())
			})
		}),
	}
	hostFlag(cmd, &host, "the model of this host (default: the daemon's, if it has one of the name)")
	return cmd
}

// meant is the model that is meant by a name or an alias: of a host that is named, else of the daemon's own before others.
func meant(s *messages.StatusView, name, host string) (*messages.ModelView, error) {
	all := s.Models
	for _, of := range []string{cmp.Or(host, s.GetHost().GetHost()), host} {
		s.Models = narrowed(slices.Clone(all), of)
		if m := modelIn(s, name); m != nil {
			return m, nil
		}
	}
	return nil, notFound(s, name)
}
