package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
)

// reply answers 200 with v. A v that has no JSON is an error that says so, before anything is written. Of a list the items
// that have none are left out, and the others are answered: the error is a leftOutError then.
func reply(w http.ResponseWriter, v any) error { return answer(w, http.StatusOK, v) }

func answer(w http.ResponseWriter, status int, v any) error {
	b, left, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // that the reader went away meanwhile is no news
	if len(left) > 0 {
		return leftOutError{left}
	}
	return nil
}

// leftOutError says why items of a list are not in the answer that was given.
type leftOutError struct{ causes []error }

func (e leftOutError) Error() string {
	return fmt.Sprintf("%d items have no JSON: %v", len(e.causes), e.causes[0])
}

// encode gives v as JSON. If v has none, the items of its lists that have none are left out.
func encode(v any) (b []byte, left []error, err error) {
	if b, err = json.Marshal(v); err == nil {
		return b, nil, nil
	}
	kept := reflect.New(reflect.TypeOf(v)).Elem()
	kept.Set(reflect.ValueOf(v))
	if left = prune(kept); len(left) == 0 {
		return nil, nil, err
	}
	b, err = json.Marshal(kept.Interface())
	return b, left, err
}

// prune takes out of the lists in v what has no JSON, and says why. It changes v, and nothing that v shares with others.
func prune(v reflect.Value) (left []error) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				left = append(left, prune(f)...)
			}
		}
	case reflect.Slice:
		kept := reflect.MakeSlice(v.Type(), 0, v.Len())
		for i := range v.Len() {
			if _, err := json.Marshal(v.Index(i).Interface()); err != nil {
				left = append(left, err)
				continue
			}
			kept = reflect.Append(kept, v.Index(i))
		}
		if len(left) > 0 {
			v.Set(kept)
		}
	}
	return left
}
