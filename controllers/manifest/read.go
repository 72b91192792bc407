package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// document is one document of a file.
type document struct {
	file   string
	number int
	object *unstructured.Unstructured
}

// readAll reads every document of every path, and reports those that cannot be read.
func readAll(s Source) (documents []document, files []string, problems []Problem) {
	for _, path := range s.Paths {
		names, err := expand(path)
		if err != nil {
			problems = append(problems, Problem{File: path, Message: err.Error()})
		}
		for _, name := range names {
			if name != "-" {
				files = append(files, name)
			}
			found, bad := readFile(name, s.Stdin)
			documents, problems = append(documents, found...), append(problems, bad...)
		}
	}
	return documents, files, problems
}

// expand turns a directory into the manifests in it.
func expand(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, nil //nolint:nilerr // what is wrong with it comes out when it is read
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, errors.New("there is no .yaml, .yml or .json file in this directory")
	}
	return names, nil
}

func readFile(name string, stdin io.Reader) ([]document, []Problem) {
	data, err := contents(name, stdin)
	if err != nil {
		return nil, []Problem{{File: name, Message: err.Error()}}
	}
	texts, err := split(data)
	if err != nil {
		return nil, []Problem{{File: name, Message: err.Error()}}
	}
	var documents []document
	var problems []Problem
	d := document{file: name}
	for _, text := range texts {
		objects, err := decode(text)
		if err != nil || len(objects) > 0 { // a comment alone is no document
			d.number++
		}
		if err != nil {
			problems = append(problems, d.broken("", err))
		}
		for _, d.object = range objects {
			documents = append(documents, d)
		}
	}
	return documents, problems
}

func contents(name string, stdin io.Reader) ([]byte, error) {
	switch {
	case name != "-":
		return os.ReadFile(name)
	case stdin == nil:
		return nil, errors.New("there is no standard input")
	default:
		return io.ReadAll(stdin)
	}
}

// split cuts a file into its documents as JSON or YAML texts. Empty ones are left out.
func split(data []byte) ([][]byte, error) {
	var texts [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return texts, nil
		}
		if err != nil {
			return nil, err
		}
		if utilyaml.IsJSONBuffer(text) {
			texts = append(texts, splitJSON(text)...)
		} else {
			texts = append(texts, text)
		}
	}
}

// splitJSON cuts JSON texts that follow one another. YAML in flow style looks like JSON too: from where it is not,
// the rest is left whole.
func splitJSON(data []byte) [][]byte {
	var texts [][]byte
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var one json.RawMessage
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			return append(texts, data[d.InputOffset():])
		}
		texts = append(texts, one)
	}
}

// decode reads the object of a document, or those of a List. A key that stands there twice is an error.
func decode(text []byte) ([]*unstructured.Unstructured, error) {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	var content any
	if err := utiljson.Unmarshal(data, &content); err != nil {
		return nil, err
	}
	if content == nil {
		return nil, nil
	}
	fields, ok := content.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("this is not an object, but %.40s", data)
	}
	u := &unstructured.Unstructured{Object: fields}
	if u.GetKind() == "" || u.GetAPIVersion() == "" {
		return nil, errors.New("apiVersion and kind must be set")
	}
	if !u.IsList() {
		return []*unstructured.Unstructured{u}, nil
	}
	var items []*unstructured.Unstructured
	err = u.EachListItem(func(o runtime.Object) error {
		items = append(items, o.(*unstructured.Unstructured))
		return nil
	})
	return items, err
}
