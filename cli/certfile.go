package cli

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// certFile is a certificate that is read anew when its file was replaced.
type certFile struct {
	cert, key string

	mu      sync.Mutex // guards what follows
	loaded  *tls.Certificate
	changed time.Time
}

// get is a tls.Config's GetCertificate. A renewal that is half written keeps the certificate that was in use.
func (c *certFile) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	info, err := os.Stat(c.cert)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil && (err != nil || info.ModTime().Equal(c.changed)) {
		return c.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		if c.loaded != nil {
			return c.loaded, nil
		}
		return nil, err
	}
	c.loaded, c.changed = &pair, info.ModTime()
	return c.loaded, nil
}
