// Command bundle writes the bundle by which the Operator Lifecycle Manager installs Postrider: what people wrote in
// config/manifests, completed from what kustomize makes of config/default (on standard input), the definitions and
// the samples. It invents nothing: an object that it has no place for is an error.
//
//	kubectl kustomize config/default | go run ./hack/bundle -version 1.2.3 -image NAME@sha256:… -out DIR
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// options are the command line.
type options struct {
	// version is the operator's, without a v.
	version string
	// image is the reference of the one image of operator and relay.
	image string
	// root is the tree that config/ is in.
	root string
	// out is the directory that becomes the bundle.
	out string
}

func main() {
	var o options
	flag.StringVar(&o.version, "version", "", "version of the operator, as in 1.2.3")
	flag.StringVar(&o.image, "image", "", "reference of the image")
	flag.StringVar(&o.root, "root", ".", "directory that config/ is in")
	flag.StringVar(&o.out, "out", "", "directory to write")
	flag.Parse()
	if err := run(o, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(o options, installed io.Reader) error {
	if o.version == "" || o.image == "" || o.out == "" {
		return errors.New("-version, -image and -out are needed")
	}
	objects, err := decode(installed)
	if err != nil {
		return fmt.Errorf("reading what kustomize made: %w", err)
	}
	parts, err := sort(objects)
	if err != nil {
		return err
	}
	csv, err := clusterServiceVersion(o, parts)
	if err != nil {
		return err
	}
	return write(o, csv, parts)
}

// write makes the bundle anew.
func write(o options, csv *unstructured.Unstructured, p *parts) error {
	files := map[string]any{"manifests/postrider.clusterserviceversion.yaml": csv.Object}
	for _, object := range append(p.definitions, p.others...) {
		files["manifests/"+fileName(object)] = object.Object
	}
	manifests := filepath.Join(o.out, "manifests")
	if err := errors.Join(os.RemoveAll(o.out), os.MkdirAll(manifests, 0o755), os.MkdirAll(filepath.Join(o.out, "metadata"), 0o755)); err != nil {
		return err
	}
	for name, object := range files {
		data, err := yaml.Marshal(object)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(o.out, name), data, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(
		copyFile(filepath.Join(o.root, "config/manifests/annotations.yaml"), filepath.Join(o.out, "metadata/annotations.yaml")),
		copyFile(filepath.Join(o.root, "config/manifests/bundle.Dockerfile"), filepath.Join(o.out, "bundle.Dockerfile")))
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
