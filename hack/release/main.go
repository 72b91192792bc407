// Command release packs the kubectl plugin for krew, says what programs are made of, and lists what a release holds.
//
//	go list -deps -f '{{with .Module}}{{.Path}} {{.Version}} {{.Dir}}{{end}}' … | go run ./hack/release licences >FILE
//	go run ./hack/release pack -program FILE -licences FILE -out dist/kubectl-postrider_v1.2.3_linux_amd64
//	go run ./hack/release bom -version v1.2.3 -made TIME [-image NAME@sha256:…] -out FILE.cdx.json PROGRAM...
//	go run ./hack/release list -version v1.2.3 -image NAME@sha256:… -commit HASH [-builder URI] -dir dist
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	origin
	program, libraries, out, dir string
	programs                     []string
}

func parse(args []string) (options, error) {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	var o options
	flags.StringVar(&o.program, "program", "", "the plugin's program, built")
	flags.StringVar(&o.libraries, "licences", "", "the licences of its libraries")
	flags.StringVar(&o.out, "out", "", "the file to write; an archive without its ending")
	flags.StringVar(&o.dir, "dir", "", "the directory of the archives")
	flags.StringVar(&o.version, "version", "", "the version")
	flags.StringVar(&o.image, "image", "", "the image, by its digest")
	flags.StringVar(&o.made, "made", "", "the time of the commit, RFC 3339")
	flags.StringVar(&o.commit, "commit", "", "the commit")
	flags.StringVar(&o.builder, "builder", "", "who builds, as a URI")
	err := flags.Parse(args[1:])
	o.programs = flags.Args()
	return o, err
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("licences, pack, bom or list?")
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	given := func(values ...string) bool { return !slices.Contains(values, "") }
	switch {
	case args[0] == "licences":
		return licences(os.Stdin, os.Stdout)
	case args[0] == "pack" && given(o.program, o.libraries, o.out):
		return pack(o.out, o.program, entry{"LICENSE", "LICENSE", 0o644}, entry{"THIRD-PARTY.txt", o.libraries, 0o644})
	case args[0] == "bom" && given(o.version, o.made, o.out) && len(o.programs) > 0:
		return writeBOM(o.out, o.origin, o.programs)
	case args[0] == "list" && given(o.version, o.image, o.commit, o.dir):
		return list(o.dir, filepath.Join("config", "krew", "postrider.yaml"), o.origin)
	}
	return errors.New("pack needs -program, -licences and -out; bom -version, -made, -out and programs; list -version, -image, -commit and -dir")
}
