package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"
)

// output is how a command prints.
type output struct{ format string }

func (o *output) flags(c *cobra.Command) {
	c.Flags().StringVarP(&o.format, "output", "o", "table", "table, wide, json or yaml")
}

func (o *output) check() error {
	switch o.format {
	case "table", "wide", "json", "yaml":
		return nil
	default:
		return usageError{fmt.Errorf("-o %s: it must be table, wide, json or yaml", o.format)}
	}
}

// structured says that a program reads what is printed.
func (o *output) structured() bool { return o.format == "json" || o.format == "yaml" }
func (o *output) wide() bool       { return o.format == "wide" }

// write prints a value as JSON, or as the same in YAML.
func (o *output) write(w io.Writer, v any) error {
	if o.format == "yaml" {
		text, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows in columns as kubectl does.
func table(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 6, 4, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		for i := range row {
			row[i] = printable(row[i])
		}
		if _, err := fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// printable takes control characters out of what strangers wrote, so that it cannot steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// ago is the age of a moment, as kubectl prints it.
func ago(t, now time.Time) string { return duration.HumanDuration(now.Sub(t)) }

// elide shortens s for a table by leaving out its middle: of a reply, both ends matter.
func elide(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	head := most / 3
	return string(runes[:head]) + "…" + string(runes[len(runes)-(most-head-1):])
}

// several is a number of things: "1 message", "2 messages".
func several(n int, thing string) string {
	if n != 1 {
		thing += "s"
		if strings.HasSuffix(thing, "ss") {
			thing = strings.TrimSuffix(thing, "s") + "es"
		}
	}
	return strconv.Itoa(n) + " " + thing
}
