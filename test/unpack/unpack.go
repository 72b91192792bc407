// Package unpack reads archives that tests look into. It serves tests alone.
package unpack

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
)

// File is one of an archive.
type File struct {
	Text string
	Mode fs.FileMode
}

// TarGz reads the files of a tar.gz, by their names.
func TarGz(r io.Reader) (map[string]File, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	files := map[string]File{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		files[header.Name] = File{string(text), header.FileInfo().Mode()}
	}
}
