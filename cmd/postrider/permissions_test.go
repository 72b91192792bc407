package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// runs are commands of each row of the user guide's table that together use all its rights, by the row's first command.
func runs(file string) map[string][]string {
	return map[string][]string{
		"queue":     {"queue top outbound --once"},
		"status":    {"status outbound"},
		"dns":       {"dns records outbound"},
		"cordon":    {"cordon outbound outbound-1"},
		"test-send": {"test-send outbound --from a@shop.example --to b@gmail.com"},
		"report":    {"report outbound --operator-namespace default -f " + file},
	}
}

// rights reads the table: rights by the commands that need them.
func rights(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/user-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## What commands need\n")
	section, _, _ = strings.Cut(section, "\n## ")
	table := map[string][]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		var needs []string
		for _, right := range strings.Split(cells[2], ";") {
			if right = strings.TrimSpace(right); right != "" {
				needs = append(needs, right)
			}
		}
		for _, command := range strings.Split(cells[1], ",") {
			table[strings.Trim(command, " `")] = needs
		}
	}
	return table
}

// ruleOf is a right as RBAC has it: "create pods/exec", "list statefulsets.apps".
func ruleOf(right string) rbacv1.PolicyRule {
	verb, resource, _ := strings.Cut(right, " ")
	resource, group, _ := strings.Cut(resource, ".")
	if slices.Contains([]string{"mailrelays", "sendingdomains", "ratelimitpolicies"}, resource) {
		group = v1alpha1.GroupVersion.Group
	}
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}
}

func rulesOf(rights []string) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, right := range rights {
		rules = append(rules, ruleOf(right))
	}
	return rules
}

// With the rights of the table a command is forbidden nothing; without any one of them, something.
func TestCommandsNeedJustTheirRights(t *testing.T) {
	c := newInCluster(t)
	c.state(1, v1alpha1.PodCordoned, 3)
	table := rights(t)
	for command := range runs("") {
		t.Run(command, func(t *testing.T) {
			needs := table[command]
			if len(needs) == 0 {
				t.Fatal("the table says nothing of it")
			}
			if said := c.forbidden(t, command, needs); said != "" {
				t.Errorf("with all its rights: %s", said)
			}
			for i, right := range needs {
				if c.forbidden(t, command, slices.Delete(slices.Clone(needs), i, i+1)) == "" {
					t.Errorf("it does not need %s", right)
				}
			}
		})
	}
}

// forbidden runs a command with some rights, and returns what it says if the API server forbids it anything in the namespace.
func (c *inCluster) forbidden(t *testing.T, command string, rights []string) string {
	t.Helper()
	user := c.user(rulesOf(rights))
	for _, run := range runs(t.TempDir() + "/report.tar.gz")[command] {
		_, _, said := c.cli(user, strings.Fields(run)...)
		for line := range strings.Lines(said) {
			if strings.Contains(line, "orbidden") && !strings.Contains(line, `in the namespace "default"`) {
				return line
			}
		}
	}
	return ""
}

// Every command stands in the table.
func TestEveryCommandIsInTheTable(t *testing.T) {
	table := rights(t)
	for _, command := range newRoot("postrider", streams{}).Commands() {
		if _, there := table[command.Name()]; !there && !slices.Contains([]string{"help"}, command.Name()) {
			t.Errorf("%s is missing", command.Name())
		}
	}
}
