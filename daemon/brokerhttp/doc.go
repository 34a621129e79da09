// Package brokerhttp makes all connections to a broker. Requests, WebSockets and probes parse its
// address in the same way, use the same proxy, and trust the same certificates.
//
//	address ─▶ Route ─▶ TCP ─▶ proxy (CONNECT or SOCKS5) ─▶ TLS ─▶ Post, or WebSocket
//	              └── Environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY
//
// A failure on the way is a Fault: a cause for programs, a sentence and a next step for people. It
// never contains the user name or password of a proxy's URL.
package brokerhttp
