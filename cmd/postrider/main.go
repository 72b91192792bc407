// Command postrider looks into MailRelays and steers them, in a cluster or without one. Installed as
// kubectl-postrider it is the plugin `kubectl postrider`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/controllers/manifest"
)

// version is set by the linker, and in a release image, too: that of the operator and the relays, by its digest.
var version, image = "dev", ""

// Exit codes. Scripts rely on them.
const (
	exitOK     = 0
	exitFailed = 1 // it could not be done, or a check did not pass
	exitUsage  = 2 // wrong arguments, or invalid manifests
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args, streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run is the program: args begin with its name.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(filepath.Base(args[0]), s)
	root.SetArgs(args[1:])
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(s.err, "Error:", err)
	var invalid *manifest.Invalid
	var usage usageError
	if errors.As(err, &invalid) || errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in the arguments.
type usageError struct{ error }

// newRoot is the command tree. A program called kubectl-NAME is kubectl's plugin NAME.
func newRoot(program string, s streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "postrider",
		Short:         "Look into MailRelays and steer them",
		Long:          "postrider looks into MailRelays and steers them: in a cluster (-n NAMESPACE NAME), or those that\n`postrider local` runs without one (--data DIR).",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          arguments(cobra.NoArgs),
		RunE:          help,
	}
	if plugin, ok := strings.CutPrefix(program, "kubectl-"); ok {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl " + strings.ReplaceAll(plugin, "_", "-")}
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(newLocal(s), newStatus(s), newQueue(s), newExplain(s), newTrace(s), newSuppression(s), newDNS(s), newTestSend(s),
		newCordon(s), newUncordon(s), newDrain(s), newPause(s), newResume(s), newConsole(s), newReport(s), newInstall(s))
	return root
}

// help is what a command does that only has subcommands.
func help(c *cobra.Command, _ []string) error { return c.Help() }

// arguments wraps a check of positional arguments, so that its complaint counts as one about usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
		}
		return nil
	}
}
