package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// entry is a file of an archive.
type entry struct {
	name   string
	source string
	mode   os.FileMode
}

// pack writes the archive of a program, under the name that kubectl finds a plugin by, and of what goes with it: a zip
// for Windows, else a tar.gz. Equal input gives equal octets.
func pack(out, program string, others ...entry) error {
	name, ending, write := "kubectl-postrider", ".tar.gz", writeTar
	if filepath.Ext(program) == ".exe" {
		name, ending, write = "kubectl-postrider.exe", ".zip", writeZip
	}
	f, err := os.Create(out + ending)
	if err != nil {
		return err
	}
	entries := append([]entry{{name, program, 0o755}}, others...)
	return errors.Join(write(f, entries), f.Close())
}

func writeTar(w io.Writer, entries []entry) error {
	compressed := gzip.NewWriter(w)
	out := tar.NewWriter(compressed)
	for _, e := range entries {
		data, err := os.ReadFile(e.source)
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: int64(e.mode), Size: int64(len(data)), ModTime: time.Unix(0, 0)}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), compressed.Close())
}

func writeZip(w io.Writer, entries []entry) error {
	out := zip.NewWriter(w)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		header.SetMode(e.mode)
		file, err := out.CreateHeader(header)
		if err != nil {
			return err
		}
		source, err := os.Open(e.source)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, source)
		if err := errors.Join(err, source.Close()); err != nil {
			return err
		}
	}
	return out.Close()
}

// baseName is the last part of a URI.
func baseName(uri string) string { return uri[strings.LastIndex(uri, "/")+1:] }
