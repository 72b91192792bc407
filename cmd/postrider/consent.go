package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
)

// consent is how a command that destroys or moves mail is let do so.
type consent struct{ yes, dryRun bool }

func (c *consent) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do it without asking, as in scripts")
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "say what would be done, and do nothing")
}

// errNotDone is the end of a command whose user said no.
var errNotDone = errors.New("nothing was done")

// ready refuses at once where nobody could be asked.
func (c *consent) ready(s streams) error {
	if c.yes || c.dryRun || s.interactive() {
		return nil
	}
	return usageError{errors.New("this asks before it acts, and there is no terminal to ask on: look with --dry-run, then say --yes")}
}

// ask asks, unless the flags have answered.
func (c *consent) ask(s streams, question string) error {
	if c.yes {
		return nil
	}
	if _, err := fmt.Fprintf(s.err, "%s [y/N] ", printable(question)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(s.in).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
		return nil
	}
	if answer == "" && err != nil {
		fmt.Fprintln(s.err)
	}
	return errNotDone
}

// interactive says that a person reads what is printed on the terminal that answers come from.
func (s streams) interactive() bool { return isTerminal(s.in) }

func isTerminal(stream any) bool {
	file, ok := stream.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
