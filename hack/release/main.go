// Command release packs the kubectl plugin for krew, and lists what a release holds.
//
//	go list -deps -f '{{with .Module}}{{.Path}} {{.Version}} {{.Dir}}{{end}}' … | go run ./hack/release licences >FILE
//	go run ./hack/release pack -program FILE -licences FILE -out dist/kubectl-postrider_v1.2.3_linux_amd64
//	go run ./hack/release list -version v1.2.3 -dir dist
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
		return errors.New("licences, pack or list?")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	program := flags.String("program", "", "the plugin's program, built")
	libraries := flags.String("licences", "", "the licences of its libraries")
	out := flags.String("out", "", "the archive, without its ending")
	version := flags.String("version", "", "the version that the manifest names")
	dir := flags.String("dir", "", "the directory of the archives")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch {
	case args[0] == "licences":
		return licences(os.Stdin, os.Stdout)
	case args[0] == "pack" && *program != "" && *libraries != "" && *out != "":
		return pack(*out, *program, entry{"LICENSE", "LICENSE", 0o644}, entry{"THIRD-PARTY.txt", *libraries, 0o644})
	case args[0] == "list" && *version != "" && *dir != "":
		return list(*dir, *version, filepath.Join("config", "krew", "postrider.yaml"))
	}
	return errors.New("pack needs -program, -licences and -out; list -version and -dir")
}
