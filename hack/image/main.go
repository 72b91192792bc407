// Command image packs static programs into a container image file, without a container engine.
//
//	go run ./hack/image -name NAME:TAG -out FILE [-user UID] [-entrypoint PATH] SOURCE[=PATH]...
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postrider/postrider/hack/image/archive"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run() error {
	name := flag.String("name", "", "reference of the image, tag included")
	out := flag.String("out", "", "file to write")
	user := flag.String("user", "", "numeric user of its processes")
	entrypoint := flag.String("entrypoint", "", "program that a container starts by default")
	flag.Parse()
	if *name == "" || *out == "" || flag.NArg() == 0 {
		return errors.New("-name, -out and at least one file are needed")
	}
	image := archive.Image{Name: *name, User: *user}
	if *entrypoint != "" {
		image.Entrypoint = []string{*entrypoint}
	}
	for _, arg := range flag.Args() {
		source, path, placed := strings.Cut(arg, "=")
		if !placed {
			path = "/" + filepath.Base(source)
		}
		image.Files = append(image.Files, archive.File{Source: source, Path: path})
	}
	return write(*out, image)
}

// write replaces the file only with a whole image.
func write(out string, image archive.Image) error {
	f, err := os.CreateTemp(filepath.Dir(out), ".image-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(archive.Write(f, image), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}
