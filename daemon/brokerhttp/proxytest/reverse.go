package proxytest

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// Reverse is a proxy in front of a broker that its clients take for the broker.
type Reverse struct {
	Prefix      string // the path under which it serves the broker, such as /mesh
	Keep        bool   // pass the prefix on instead of taking it off
	DropUpgrade bool   // as a proxy does that was not told of WebSockets
}

// Handler passes requests under the prefix on to the broker at addr, host:port.
func (o Reverse) Handler(addr string) http.Handler {
	target := &url.URL{Scheme: "http", Host: addr}
	pass := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		if !o.Keep {
			r.Out.URL.Path, r.Out.URL.RawPath = strings.TrimPrefix(r.In.URL.Path, o.Prefix), ""
		}
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, o.Prefix+"/") {
			http.Error(w, "nothing here", http.StatusNotFound)
			return
		}
		if o.DropUpgrade {
			r.Header.Del("Upgrade")
			r.Header.Del("Connection")
		}
		pass.ServeHTTP(w, r)
	})
}
