// Package door reaches the admin interface of relays: through the Unix socket of one that runs on this machine,
// or through kubectl's exec into the pods of one in a cluster, so that RBAC and audit apply. It owns the way there
// and refuses to know what is asked.
package door

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// SocketName is the file name of a local relay's socket, in its directory.
const SocketName = "admin.sock"

// ErrNotFound says that what was asked for is not there.
var ErrNotFound = errors.New("not found")

// Door is the way to one relay process.
type Door struct {
	// Name is that of the pod, or of the relay that runs here.
	Name string
	ask  func(ctx context.Context, method, path string, body []byte) ([]byte, error)
}

// Get asks for path and decodes the answer. It returns an error that wraps ErrNotFound when there is no such thing.
func (d Door) Get(ctx context.Context, path string, answer any) error {
	return d.do(ctx, http.MethodGet, path, nil, answer)
}

// Text asks for path and returns the answer as it is.
func (d Door) Text(ctx context.Context, path string) ([]byte, error) {
	data, err := d.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name, err)
	}
	return data, nil
}

// Post sends a question and decodes the answer.
func (d Door) Post(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	return d.do(ctx, http.MethodPost, path, body, answer)
}

// Delete has a thing removed and decodes the answer.
func (d Door) Delete(ctx context.Context, path string, answer any) error {
	return d.do(ctx, http.MethodDelete, path, nil, answer)
}

func (d Door) do(ctx context.Context, method, path string, body []byte, answer any) error {
	data, err := d.ask(ctx, method, path, body)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Name, err)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s answered %s %s with something else than JSON: %w", d.Name, method, path, err)
	}
	return nil
}

// Local returns the doors of the relays that `postrider local` runs in a data directory: of the one with that
// name, or of all when it is empty. The error says when there is none.
func Local(dataDir, name string) ([]Door, error) {
	pattern := name
	if name == "" {
		pattern = "*"
	}
	sockets, err := filepath.Glob(filepath.Join(dataDir, pattern, SocketName))
	if err != nil {
		return nil, err
	}
	if len(sockets) == 0 {
		return nil, fmt.Errorf("no relay runs in %s: start one with postrider local -f PATH --data %s", filepath.Join(dataDir, name), dataDir)
	}
	var doors []Door
	for _, socket := range sockets {
		doors = append(doors, Door{Name: filepath.Base(filepath.Dir(socket)), ask: askSocket(socket)})
	}
	return doors, nil
}

// askSocket speaks HTTP over a Unix socket.
func askSocket(socket string) func(context.Context, string, string, []byte) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	return func(ctx context.Context, method, path string, body []byte) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return nil, notRunning(socket, err)
		}
		defer response.Body.Close()
		data, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, err
		}
		if response.StatusCode != http.StatusOK {
			return nil, refusal(response.Status, data)
		}
		return data, nil
	}
}

// notRunning explains why a socket cannot be spoken to.
func notRunning(socket string, err error) error {
	var failed *os.SyscallError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &failed) && failed.Syscall == "connect" {
		return fmt.Errorf("the relay does not run (no answer on %s)", socket)
	}
	return err
}

// refusal is what the relay said in place of an answer.
func refusal(status string, data []byte) error {
	var said struct{ Error string }
	if json.Unmarshal(data, &said) != nil || said.Error == "" {
		said.Error = strings.TrimSpace(string(data))
	}
	if strings.HasPrefix(status, "404") {
		return fmt.Errorf("%w: %s", ErrNotFound, said.Error)
	}
	return errors.New(said.Error)
}
