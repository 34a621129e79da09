package brokerhttp

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// roots are the authorities that this machine trusts; nil means the system's. Where Go reads the two variables by itself
// they replace the system's authorities, elsewhere they add to them. A file that cannot be used is said: without it every
// certificate seems to be a stranger's. Errors are *Fault.
func (e Environment) roots() (*x509.CertPool, error) {
	file, dir := e[SSLCertFile], e[SSLCertDir]
	if file != "" {
		if err := checkRoots(file); err != nil {
			return nil, rootsFault(SSLCertFile, err)
		}
	}
	if runtime.GOOS != "darwin" && runtime.GOOS != "windows" || file == "" && dir == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, rootsFault("the system's list", err)
	}
	files := []string{file}
	for _, d := range filepath.SplitList(dir) {
		found, err := filepath.Glob(filepath.Join(d, "*"))
		if err != nil {
			return nil, rootsFault(SSLCertDir, err)
		}
		files = append(files, found...)
	}
	for _, f := range files {
		if pem, err := os.ReadFile(f); err == nil {
			pool.AppendCertsFromPEM(pem)
		}
	}
	return pool, nil
}

// checkRoots tells whether a file holds certificates.
func checkRoots(file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", file)
	}
	return nil
}

func rootsFault(name string, err error) *Fault {
	return &Fault{Cause: CauseRoots, Unsent: true, Err: err, Sentence: fmt.Sprintf("the certificate authorities of %s cannot be read: %v", name, err),
		Next: "let it name a file with PEM certificates, or take it out of the environment"}
}
