package condition

import (
	"os"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// healthScript is what Argo CD is given.
const healthScript = "../../config/argocd/health.lua"

// argocd runs the health check in the Lua that Argo CD runs it in, with the libraries that it lets scripts have.
type argocd struct{ script *lua.FunctionProto }

func newArgoCD(t *testing.T) argocd {
	t.Helper()
	text, err := os.ReadFile(healthScript)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parse.Parse(strings.NewReader(string(text)), healthScript)
	if err != nil {
		t.Fatal(err)
	}
	script, err := lua.Compile(parsed, healthScript)
	if err != nil {
		t.Fatal(err)
	}
	return argocd{script}
}

// health is what Argo CD shows of an object, and why.
func (a argocd) health(t *testing.T, u *unstructured.Unstructured) (health, message string) {
	t.Helper()
	vm := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer vm.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		vm.Push(vm.NewFunction(open))
		vm.Push(lua.LString(name))
		vm.Call(1, 0)
	}
	vm.SetGlobal("obj", luaValue(vm, u.Object))
	vm.Push(vm.NewFunctionFromProto(a.script))
	if err := vm.PCall(0, 1, nil); err != nil {
		t.Fatalf("%s: %v", healthScript, err)
	}
	result, ok := vm.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("%s returns %s", healthScript, vm.Get(-1))
	}
	return lua.LVAsString(result.RawGetString("status")), lua.LVAsString(result.RawGetString("message"))
}

// luaValue is a JSON value in Lua, where all numbers are of one type.
func luaValue(vm *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := vm.NewTable()
		for key, member := range v {
			table.RawSetString(key, luaValue(vm, member))
		}
		return table
	case []any:
		table := vm.NewTable()
		for _, member := range v {
			table.Append(luaValue(vm, member))
		}
		return table
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}
