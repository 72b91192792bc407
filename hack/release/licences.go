package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// licences writes what the licences of libraries ask to go with a program: their texts and notices. In has a line for
// each module: its path, version and directory, as `go list` tells them.
func licences(in io.Reader, out io.Writer) error {
	fmt.Fprintln(out, "Postrider holds the libraries below, each under its own licence.")
	modules := 0
	for lines := bufio.NewScanner(in); lines.Scan(); modules++ {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			return fmt.Errorf("%q: want a module, its version and its directory", lines.Text())
		}
		texts, err := licenceTexts(fields[2])
		if err != nil {
			return fmt.Errorf("%s: %w", fields[0], err)
		}
		fmt.Fprintf(out, "\n======== %s %s\n\n%s", fields[0], fields[1], strings.Join(texts, "\n"))
	}
	if modules == 0 {
		return fmt.Errorf("no module is named")
	}
	return nil
}

// licenceTexts are the licence and the notices in the top of a module; one without is an error.
func licenceTexts(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, e := range entries {
		stem, _, _ := strings.Cut(strings.ToUpper(e.Name()), ".")
		if e.IsDir() || !slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, strings.TrimSuffix(stem, "-APACHE")) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, strings.TrimSpace(string(data))+"\n")
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("no licence is in %s", dir)
	}
	return texts, nil
}
