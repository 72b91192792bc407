package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/postrider/postrider/relay/spool"
)

// salvage brings what can be read of a damaged spool into a new one.
func salvage(args []string) error {
	flags := flag.NewFlagSet("relay salvage", flag.ExitOnError)
	from := flags.String("data-dir", dataDir, "directory of the damaged spool; it is not changed")
	to := flags.String("out", "", "directory for the new spool; it must be empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *to == "" || flags.NArg() > 0 {
		return errors.New(usage)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	found, err := spool.Salvage(filepath.Join(*from, "spool"), *to, spool.Options{Logger: log})
	report(os.Stdout, found)
	if err != nil {
		return err
	}
	if !found.Complete() {
		return errors.New("not everything could be brought along")
	}
	return nil
}

func report(w io.Writer, s spool.Salvaged) {
	for _, line := range s.Findings {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "%d messages with %d recipients brought into the new spool; %d recipients listed whose message is damaged; "+
		"%d entries lost; %d files or parts of files could not be read\n", s.Messages, s.Recipients, s.Damaged, s.Lost, s.Unread)
}
