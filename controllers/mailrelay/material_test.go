package mailrelay

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/render"
)

func TestLastGoodCopyStays(t *testing.T) {
	need := render.Need{Kind: render.KindUsers, Secret: "smtp-users", Field: "spec.listeners[0].auth.users.secretRef"}
	file := need.FileNames()[0]
	const good, older = "ada:$2y$10$abcdefghijklmnopqrstuv", "bob:$2y$10$abcdefghijklmnopqrstuv"
	own := map[string][]byte{file: []byte(older)}
	tests := map[string]struct {
		data    map[string][]byte
		own     map[string][]byte
		want    string
		problem string
		kept    bool
		missing bool
	}{
		"good":                      {map[string][]byte{"users": []byte(good)}, own, good, "", false, false},
		"gone":                      {nil, own, older, "there is no Secret smtp-users", true, true},
		"without its key":           {map[string][]byte{"other": nil}, own, older, `"users"`, true, true},
		"malformed":                 {map[string][]byte{"users": []byte("ada:secret")}, own, older, "line 1", true, false},
		"gone, and never was there": {nil, nil, "", "there is no Secret smtp-users", false, true},
		"malformed from the start":  {map[string][]byte{"users": []byte("ada:secret")}, nil, "", "line 1", false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files, problem := filesOf(need, test.data, test.data != nil, test.own)
			if string(files[file]) != test.want {
				t.Errorf("the file holds %q", files[file])
			}
			switch {
			case test.problem == "" && problem != nil:
				t.Errorf("a problem: %+v", problem)
			case test.problem == "":
			case problem == nil:
				t.Error("no problem")
			case !strings.Contains(problem.Problem, test.problem) || !strings.Contains(problem.Problem, need.Field) ||
				problem.Kept != test.kept || problem.Missing != test.missing || problem.Use != condition.UseUsers:
				t.Errorf("got %+v", problem)
			}
		})
	}
}

// Each kind of Secret has its place in the status.
func TestUseOf(t *testing.T) {
	for kind, want := range map[render.Kind]condition.Use{
		render.KindTLS:         condition.UseTLS,
		render.KindUsers:       condition.UseUsers,
		render.KindCredentials: condition.UseUpstream,
		render.KindOAuth2:      condition.UseUpstream,
		render.KindCA:          condition.UseUpstream,
		render.KindRspamd:      condition.UseService,
		render.KindWebhook:     condition.UseService,
	} {
		if got := useOf(kind); got != want {
			t.Errorf("%s: %v; want %v", kind, got, want)
		}
	}
}
