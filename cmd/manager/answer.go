package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

const (
	// askEvery is how often an API server that is away is asked; askTime is how long an answer may take.
	askEvery = 2 * time.Second
	askTime  = 5 * time.Second
)

// awaitAnswer asks the API server again and again until it says anything but that it is in trouble. A manager that ended for want of it
// would be started again later and later, and be missing for minutes after the API server is back.
func awaitAnswer(ctx context.Context, config *rest.Config, every time.Duration) error {
	config = rest.CopyConfig(config)
	config.Timeout = askTime
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	away := false
	return wait.PollUntilContextCancel(ctx, every, true, func(ctx context.Context) (bool, error) {
		err := api.RESTClient().Get().AbsPath("/version").MaxRetries(0).Do(ctx).Error()
		if answered(err) {
			return true, nil
		}
		if !away {
			slog.Warn("the API server does not answer; waiting for it", "error", err)
		}
		away = true
		return false, nil
	})
}

// answered says that a request has got an answer, be it that it is refused.
func answered(err error) bool {
	var said apierrors.APIStatus
	return err == nil || errors.As(err, &said) && said.Status().Code > 0 && said.Status().Code < http.StatusInternalServerError &&
		said.Status().Code != http.StatusTooManyRequests
}
