package peers

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// Prometheus is Debian's.
type Prometheus struct{ *process }

// StartPrometheus starts it at address, host:port, with its files in dir and this configuration.
func StartPrometheus(dir, address, config string) (*Prometheus, error) {
	conf := filepath.Join(dir, "prometheus.yml")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(conf, []byte(config), 0o600)); err != nil {
		return nil, err
	}
	p, err := start(exec.Command("prometheus", "--config.file="+conf, "--web.listen-address="+address,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--log.level=warn"), address)
	return &Prometheus{p}, err
}
