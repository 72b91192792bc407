package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// install sees to it that Postfix is there, if a scenario wants it. It comes from Debian.
func install(ctx context.Context, chosen []scenario) error {
	if !slices.ContainsFunc(chosen, func(s scenario) bool { return s.postfix }) {
		return nil
	}
	_, missing := exec.LookPath("postfix")
	if missing == nil && os.Geteuid() != 0 {
		return errors.New("Postfix can be started by root alone: run sudo make bench")
	}
	if missing == nil {
		return nil
	}
	const line = "apt-get install -y --no-install-recommends postfix"
	if os.Geteuid() != 0 {
		return fmt.Errorf("postfix is not installed: run sudo DEBIAN_FRONTEND=noninteractive %s", line)
	}
	fmt.Println("installing Postfix:", line)
	apt := exec.CommandContext(ctx, "sh", "-c", "apt-get update && "+line)
	apt.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := apt.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return nil
}
