//go:build !(cgo && libsodium)

package crypto

var active backend = nacl{}
