package broker

import (
	"reflect"
	"testing"
	"time"
)

// TestEveryLimitHasAName sets each limit by its name and looks at the struct.
func TestEveryLimitHasAName(t *testing.T) {
	var l Limits
	if got, want := len(l.fields()), reflect.TypeOf(l).NumField(); got != want {
		t.Errorf("%d names for %d limits", got, want)
	}
	for _, f := range l.fields() {
		text := "7"
		if _, ok := f.value.(*time.Duration); ok {
			text = "7s"
		}
		if err := l.Set(f.name + "=" + text); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	v := reflect.ValueOf(l)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s was not set", v.Type().Field(i).Name)
		}
	}
	for _, shown := range l.List() {
		if shown.Value != "7" && shown.Value != "7s" {
			t.Errorf("%s is shown as %s", shown.Name, shown.Value)
		}
	}
}

func TestLimitsRefuse(t *testing.T) {
	for _, text := range []string{"", "burst", "burst=", "burst=0", "burst=-1", "burst=x", "retention=7", "retention=-1s", "nosuch=1", "rate=1,nosuch=2"} {
		if err := new(Limits).Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	var l Limits
	if err := l.Set("rate=2.5, burst=3"); err != nil || l.Rate != 2.5 || l.Burst != 3 {
		t.Errorf("%+v, %v", l, err)
	}
}
