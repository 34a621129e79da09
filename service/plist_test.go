package service

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// parsePlist reads a property list with one dictionary: strings, integers, booleans, arrays and dictionaries.
func parsePlist(b []byte) (map[string]any, error) {
	d := xml.NewDecoder(strings.NewReader(string(b)))
	v, err := plistValue(d)
	if err != nil {
		return nil, err
	}
	top, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("no dictionary")
	}
	for {
		t, err := d.Token()
		if err == io.EOF {
			return top, nil
		}
		if err != nil {
			return nil, err
		}
		if s, ok := t.(xml.StartElement); ok {
			return nil, fmt.Errorf("another %s behind the dictionary", s.Name.Local)
		}
	}
}

// plistValue returns the next value, or nil at the end of what surrounds it.
func plistValue(d *xml.Decoder) (any, error) {
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch e := t.(type) {
		case xml.EndElement:
			return nil, nil
		case xml.StartElement:
			if e.Name.Local == "plist" {
				continue
			}
			return plistElement(d, e)
		}
	}
}

func plistElement(d *xml.Decoder, e xml.StartElement) (any, error) {
	switch e.Name.Local {
	case "true", "false":
		return e.Name.Local == "true", d.Skip()
	case "string", "key", "integer":
		var s string
		if err := d.DecodeElement(&s, &e); err != nil || e.Name.Local != "integer" {
			return s, err
		}
		return strconv.Atoi(s)
	case "array", "dict":
		var items []any
		for {
			v, err := plistValue(d)
			if err != nil {
				return nil, err
			}
			if v == nil {
				break
			}
			items = append(items, v)
		}
		if e.Name.Local == "array" {
			return items, nil
		}
		m := map[string]any{}
		for i := 0; i+1 < len(items); i += 2 {
			k, ok := items[i].(string)
			if !ok || m[k] != nil {
				return nil, fmt.Errorf("key %v", items[i])
			}
			m[k] = items[i+1]
		}
		return m, nil
	}
	return nil, fmt.Errorf("element %s", e.Name.Local)
}

func TestPlist(t *testing.T) {
	text := renderPlist(spec{verb: "daemon", executable: "/Applications/R&D <x>/claudemesh", home: "/Users/alice \"b\"/.claudemesh"}, nil)
	golden(t, "daemon.plist", text)
	p, err := parsePlist([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p["ProgramArguments"]); got != "[/Applications/R&D <x>/claudemesh daemon]" {
		t.Errorf("arguments %s", got)
	}
	if got := p["EnvironmentVariables"].(map[string]any)["CLAUDEMESH_CONFIG_DIR"]; got != "/Users/alice \"b\"/.claudemesh" {
		t.Errorf("home %v", got)
	}
	if p["RunAtLoad"] != true || p["KeepAlive"].(map[string]any)["SuccessfulExit"] != false || p["ThrottleInterval"] != 10 || p["Umask"] != 0o077 || p["Label"] != launchdLabel {
		t.Errorf("%v", p)
	}
}

// golden compares with a file of testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}
