package health

import (
	"errors"
	"testing"
	"time"
)

var (
	epoch   = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	errDead = errors.New("connection refused")
)

// TestStates goes through observations, one a second: a and A are attempts that fail and succeed, p and P probes, ! one that is asked for. After each the
// state is u (up) or d (down), then the seconds until the next probe, if there is one.
func TestStates(t *testing.T) {
	for _, tc := range []struct {
		name, seen string
		every      time.Duration
		want       []string
	}{
		{"fails less than three times in a row", "aaAaaA", 0, []string{"u", "u", "u", "u", "u", "u"}},
		{"third failure", "aaa", 0, []string{"u", "u", "d5s"}},
		{"attempts that were on their way change nothing", "aaaaa", 0, []string{"u", "u", "d5s", "d4s", "d3s"}},
		{"probes back off", "aaappppp", 0, []string{"u", "u", "d5s", "d10s", "d20s", "d40s", "d1m0s", "d1m0s"}},
		{"probes as configured", "aaapp", 30 * time.Second, []string{"u", "u", "d30s", "d30s", "d30s"}},
		{"up by a probe, from nought", "aaaPaaa", 0, []string{"u", "u", "d5s", "u", "u", "u", "d5s"}},
		{"up by an attempt", "aaaA", 0, []string{"u", "u", "d5s", "u"}},
		{"late probe of a host that is up", "aaaAp", 0, []string{"u", "u", "d5s", "u", "u"}},
		{"asked for, then from nought", "aaapp!p", 0, []string{"u", "u", "d5s", "d10s", "d20s", "d0s", "d5s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s State
			for i, seen := range tc.seen {
				now := epoch.Add(time.Duration(i) * time.Second)
				s = observe(s, seen, now, tc.every)
				if got := show(s, now); got != tc.want[i] {
					t.Fatalf("after %s: %s, want %s", tc.seen[:i+1], got, tc.want[i])
				}
			}
		})
	}
}

func observe(s State, seen rune, now time.Time, every time.Duration) State {
	switch seen {
	case 'a':
		return s.Attempted(errDead, now, every)
	case 'A':
		return s.Attempted(nil, now, every)
	case 'p':
		return s.Probed(errDead, now, every)
	case 'P':
		return s.Probed(nil, now, every)
	default:
		return s.Probe(now)
	}
}

func show(s State, now time.Time) string {
	if s.Down {
		return "d" + s.Due.Sub(now).String()
	}
	return "u"
}

func TestAStateTellsSinceWhenAndWhy(t *testing.T) {
	var s State
	for i := range 3 {
		s = s.Attempted(errDead, epoch.Add(time.Duration(i)*time.Second), 0)
	}
	s = s.Probed(errors.New("time-out"), epoch.Add(time.Minute), 0)
	if s.Since != epoch.Add(2*time.Second) || s.Last != "time-out" {
		t.Errorf("%+v", s)
	}
	if s = s.Probed(nil, epoch.Add(time.Hour), 0); s != (State{Since: epoch.Add(time.Hour)}) {
		t.Errorf("%+v", s)
	}
}

func TestRamp(t *testing.T) {
	for since, want := range map[time.Duration]int{
		-time.Second: 1, 0: 1, RampStep - 1: 1, RampStep: 2, 2*RampStep + 1: 4, 5 * RampStep: 32, 1000 * time.Hour: 1<<31 - 1,
	} {
		if got := Ramp(since); got != want {
			t.Errorf("%v after it is up: %d connections, want %d", since, got, want)
		}
	}
}
