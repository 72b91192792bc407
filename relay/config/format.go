package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const (
	// Format is the newest format: the one of this version.
	Format = 2
	// Oldest is the oldest format that this version still renders and reads: operator and relay may be two formats apart.
	Oldest = max(1, Format-2)
)

// formatTag names the format that brought a field, as in `format:"2"`. A field without one has been there since format 1.
// With `format:"2,required"` the field is never left out: an older relay then refuses the configuration, says so, and keeps
// the one before. That is for fields without which mail would be let in, or out, that must not be.
const formatTag = "format"

// For returns a copy of a document without the fields that came later than a format, and the names of those that were set. A
// relay of that format would refuse a document that has them. The copy shares what it leaves as it is.
func For[T any](document T, format int) (T, []string) {
	var left []string
	pruned := prune(reflect.ValueOf(&document).Elem(), format, "", &left)
	slices.Sort(left)
	return pruned.Interface().(T), slices.Compact(left)
}

// prune copies a value, without the fields that came later; path is the value's name.
func prune(v reflect.Value, format int, path string, left *[]string) reflect.Value {
	switch v.Kind() {
	case reflect.Struct:
		return pruneStruct(v, format, path, left)
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		to := reflect.New(v.Type().Elem())
		to.Elem().Set(prune(v.Elem(), format, path, left))
		return to
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() != reflect.Struct {
			return v
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			list.Index(i).Set(prune(v.Index(i), format, path+"[]", left))
		}
		return list
	case reflect.Map:
		if v.IsNil() || v.Type().Elem().Kind() != reflect.Struct {
			return v
		}
		members := reflect.MakeMap(v.Type())
		for name, member := range v.Seq2() {
			members.SetMapIndex(name, prune(member, format, path+"[]", left))
		}
		return members
	}
	return v
}

func pruneStruct(v reflect.Value, format int, path string, left *[]string) reflect.Value {
	pruned := reflect.New(v.Type()).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := strings.TrimPrefix(path+"."+jsonName(field), ".")
		since, required := introduced(field)
		switch {
		case since <= format || required:
			pruned.Field(i).Set(prune(v.Field(i), format, name, left))
		case !v.Field(i).IsZero():
			*left = append(*left, name)
		}
	}
	return pruned
}

// introduced is the format that brought a field, and whether it is never left out.
func introduced(field reflect.StructField) (since int, required bool) {
	number, option, _ := strings.Cut(field.Tag.Get(formatTag), ",")
	since, err := strconv.Atoi(number)
	if err != nil {
		since = 1
	}
	return since, option == "required"
}

func jsonName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}
