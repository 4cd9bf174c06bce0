package config

import (
	"errors"
	"reflect"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// decode fills the structure of the file from a tree that checkKeys has passed. Fields with a mistake stay zero.
func (r *report) decode(tree map[string]any) *fileRoot {
	raw := &fileRoot{}
	v := viper.NewWithOptions(viper.KeyDelimiter("::")) // no key contains it: viper would split keys at it
	if err := v.MergeConfigMap(tree); err != nil {
		r.add("", "%v", err)
		return raw
	}
	strict := func(c *mapstructure.DecoderConfig) { c.WeaklyTypedInput = false }
	r.addDecodeErrors(v.UnmarshalExact(raw, viper.DecodeHook(mapstructure.DecodeHookFuncType(parseText)), strict))
	return raw
}

// parseText turns text into the type of the field, where that type has a parser.
func parseText(_, to reflect.Type, data any) (any, error) {
	parse, has := parsers[to]
	text, isString := data.(string)
	if !has || !isString {
		return data, nil
	}
	return parse(text)
}

// isText reports whether a field of the type is written as text.
func isText(t reflect.Type) bool {
	_, has := parsers[t]
	return has || t.Kind() == reflect.String
}

// addDecodeErrors takes the joined errors of mapstructure apart: one for each key.
func (r *report) addDecodeErrors(err error) {
	switch e := err.(type) {
	case nil:
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			r.addDecodeErrors(one)
		}
	case *mapstructure.DecodeError:
		r.add(e.Name(), "%s", e.Unwrap())
	default:
		if cause := errors.Unwrap(err); cause != nil {
			r.addDecodeErrors(cause)
			return
		}
		r.add("", "%s", err)
	}
}
