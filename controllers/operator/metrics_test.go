package operator_test

import (
	"errors"
	"strings"
	"testing"
)

// TestConditionsAreServed: what a scraper is told of a relay is what its status says.
func TestConditionsAreServed(t *testing.T) {
	f := setUp(t)
	f.serving("outbound", 1)
	f.eventually("a scrape that says so", func() error {
		families, err := f.metrics.Gather()
		if err != nil {
			return err
		}
		for _, family := range families {
			for _, m := range family.Metric {
				if s := m.String(); strings.Contains(s, `"`+f.namespace+`"`) && strings.Contains(s, `"Serving"`) {
					return nil
				}
			}
		}
		return errors.New("no series of the relay has the reason Serving")
	})
}
