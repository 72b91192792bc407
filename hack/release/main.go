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
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("licences, pack, bom or list?")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	program := flags.String("program", "", "the plugin's program, built")
	libraries := flags.String("licences", "", "the licences of its libraries")
	out := flags.String("out", "", "the file to write; an archive without its ending")
	dir := flags.String("dir", "", "the directory of the archives")
	var o origin
	flags.StringVar(&o.version, "version", "", "the version")
	flags.StringVar(&o.image, "image", "", "the image, by its digest")
	flags.StringVar(&o.made, "made", "", "the time of the commit, RFC 3339")
	flags.StringVar(&o.commit, "commit", "", "the commit")
	flags.StringVar(&o.builder, "builder", "", "who builds, as a URI")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch {
	case args[0] == "licences":
		return licences(os.Stdin, os.Stdout)
	case args[0] == "pack" && *program != "" && *libraries != "" && *out != "":
		return pack(*out, *program, entry{"LICENSE", "LICENSE", 0o644}, entry{"THIRD-PARTY.txt", *libraries, 0o644})
	case args[0] == "bom" && o.version != "" && o.made != "" && *out != "" && flags.NArg() > 0:
		return writeBOM(*out, o, flags.Args())
	case args[0] == "list" && o.version != "" && o.image != "" && o.commit != "" && *dir != "":
		return list(*dir, filepath.Join("config", "krew", "postrider.yaml"), o)
	}
	return errors.New("pack needs -program, -licences and -out; bom -version, -made, -out and programs; list -version, -image, -commit and -dir")
}
