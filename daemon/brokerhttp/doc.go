// Package brokerhttp is the one way to a broker: requests, WebSockets and probes read its address alike, take the same
// proxy, and trust the same certificates.
//
//	address ─▶ Route ─▶ TCP ─▶ proxy (CONNECT or SOCKS5) ─▶ TLS ─▶ Post, or WebSocket
//	              └── Environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY
//
// Whatever goes wrong on the way is a Fault: a cause for programs, a sentence and a next step for people. Neither holds
// the name or password of a proxy's URL.
package brokerhttp
