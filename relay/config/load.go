package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrIncomplete says that files of a set are missing or do not match the index, as when a volume is being
// updated. The caller keeps what it has and tries again.
var ErrIncomplete = errors.New("the configuration is incomplete")

// Load reads the configuration in dir, and checks the files of DKIM keys against the digests of their domains.
// It returns an error that wraps ErrIncomplete for a set that is not
// complete yet, and any other error for one that never will be.
func Load(dir string) (*Config, error) {
	index, err := loadIndex(dir)
	if err != nil {
		return nil, err
	}
	c := &Config{Generation: index.Generation, Dir: dir}
	for _, name := range slices.Sorted(maps.Keys(index.Files)) {
		data, err := readVerified(dir, name, index.Files[name])
		if err != nil {
			return nil, err
		}
		if err := c.take(name, data); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if c.Relay.Hostname == "" {
		return nil, fmt.Errorf("%s does not list %s", IndexFile, RelayFile)
	}
	if err := c.verifyKeys(); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadRelay reads what stands in RelayFile alone; its errors are as those of Load.
func LoadRelay(dir string) (Relay, error) {
	var r Relay
	index, err := loadIndex(dir)
	if err != nil {
		return r, err
	}
	data, err := readVerified(dir, RelayFile, index.Files[RelayFile])
	if err != nil {
		return r, err
	}
	return r, decode(data, &r)
}

// verifyKeys holds the files of the keys that carry a digest against it.
func (c *Config) verifyKeys() error {
	for _, d := range c.Domains {
		for _, k := range d.Keys {
			if k.Digest == "" {
				continue
			}
			if _, err := readVerified(c.Dir, k.File, k.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

func loadIndex(dir string) (Index, error) {
	var index Index
	data, err := os.ReadFile(filepath.Join(dir, IndexFile))
	if err != nil {
		return index, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return index, fmt.Errorf("%s: %w", IndexFile, err)
	}
	if index.Format < Oldest || index.Format > Format {
		return index, fmt.Errorf("%s has format %d; this relay reads formats %d to %d", IndexFile, index.Format, Oldest, Format)
	}
	return index, nil
}

func readVerified(dir, name, digest string) ([]byte, error) {
	if name != filepath.Base(name) {
		return nil, fmt.Errorf("%q, which the configuration lists, is not a plain file name", name)
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if Digest(data) != digest {
		return nil, fmt.Errorf("%w: %s does not match its digest", ErrIncomplete, name)
	}
	return data, nil
}

// take adds the contents of one file. Files other than JSON are read by who uses them.
func (c *Config) take(name string, data []byte) error {
	switch {
	case name == RelayFile:
		return decode(data, &c.Relay)
	case isShard(name, DomainsFile):
		var shard []Domain
		if err := decode(data, &shard); err != nil {
			return err
		}
		c.Domains = append(c.Domains, shard...)
	case isShard(name, AccountsFile):
		return decode(data, &c.Accounts) // adds to those of other shards
	}
	return nil
}

// isShard says whether a file is a shard of the files of this format.
func isShard(name, format string) bool {
	prefix, suffix, _ := strings.Cut(format, "%02d")
	return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
}

func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// Digest is the form in which Index holds a file's contents.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Path is where a file named in the configuration is.
func (c *Config) Path(file string) string { return filepath.Join(c.Dir, file) }
