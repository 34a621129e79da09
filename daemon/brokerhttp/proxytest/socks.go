package proxytest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
)

var errSocks = errors.New("proxytest: not SOCKS5 as it is spoken here")

// socks answers one client, who names the target or says its IPv4 address.
func (p *Proxy) socks(c net.Conn) (net.Conn, error) {
	if err := p.login(c); err != nil {
		return nil, err
	}
	head, err := read(c, 4) // version, connect, reserved, kind of address
	if err != nil || head[0] != 5 || head[1] != 1 {
		return nil, errSocks
	}
	host, err := readHost(c, head[3])
	if err != nil {
		c.Write([]byte{5, 8, 0, 1, 0, 0, 0, 0, 0, 0}) // address type not supported
		return nil, err
	}
	port, err := read(c, 2)
	if err != nil {
		return nil, err
	}
	to, err := p.reach(net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port)))))
	if err != nil {
		c.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0}) // host unreachable
		return nil, err
	}
	c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return to, nil
}

func readHost(c net.Conn, kind byte) (string, error) {
	switch kind {
	case 1:
		ip, err := read(c, net.IPv4len)
		return net.IP(ip).String(), err
	case 3:
		return readCounted(c, 1)
	}
	return "", errSocks
}

// login agrees on how the client says who it is, and checks that.
func (p *Proxy) login(c net.Conn) error {
	head, err := read(c, 2)
	if err != nil || head[0] != 5 {
		return errSocks
	}
	methods, err := read(c, int(head[1]))
	if err != nil {
		return err
	}
	if p.User == "" {
		_, err := c.Write([]byte{5, 0})
		return err
	}
	if !bytes.Contains(methods, []byte{2}) {
		c.Write([]byte{5, 0xff})
		return errSocks
	}
	c.Write([]byte{5, 2})
	user, err := readCounted(c, 2)
	if err != nil {
		return err
	}
	password, err := readCounted(c, 1)
	if err != nil {
		return err
	}
	if user != p.User || password != p.Password {
		c.Write([]byte{1, 1})
		return errSocks
	}
	_, err = c.Write([]byte{1, 0})
	return err
}

func read(c net.Conn, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	return b, err
}

// readCounted reads a text behind head bytes, of which the last is its length.
func readCounted(c net.Conn, head int) (string, error) {
	b, err := read(c, head)
	if err != nil {
		return "", err
	}
	text, err := read(c, int(b[head-1]))
	return string(text), err
}
