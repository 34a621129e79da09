package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// client speaks for one API key. The broker is believed in nothing that a signature could prove.
type client struct {
	base   string // of the REST interface
	secret *protocol.APISecret
	mesh   protocol.MeshID
	member crypto.PublicKey // whose key it is
	att    string           // the statement that says so, for the header of each message
	topics []string         // what we write must be under one of them; empty: or under none
	view   *protocol.View
	epoch  string // numbers of messages begin anew with each run
	seq    map[crypto.PublicKey]uint64
}

// open asks the broker who we are, checks the answer, and learns who is in the mesh.
func open(ctx context.Context, broker string, secret *protocol.APISecret) (*client, error) {
	ws, err := protocol.NormalizeBrokerURL(broker)
	if err != nil {
		return nil, fmt.Errorf("CLAUDEMESH_BROKER_URL: %w", err)
	}
	c := &client{
		base: protocol.HTTPBase(ws) + "/api/v1", secret: secret, epoch: hex.EncodeToString(crypto.RandomBytes(8)), seq: make(map[crypto.PublicKey]uint64),
	}
	var key protocol.RESTKey
	if err := c.call(ctx, http.MethodGet, "/key", nil, &key); err != nil {
		return nil, err
	}
	// The statement bears the signature of our own key, which the broker does not have: so the mesh that it names is ours.
	st, err := protocol.ParseText(key.Statement)
	if err != nil {
		return nil, err
	}
	own, ok := st.Body.(*protocol.APIKey)
	if !ok || own.Key != secret.Key.Public() {
		return nil, errors.New("the broker took us for another key")
	}
	c.mesh, c.member, c.att, c.topics = st.Mesh(), own.Member, st.Text(), own.Topics
	return c, c.learn(ctx)
}

// learn fetches the statements of the mesh, of which the charter hashes to the mesh's id and the others follow from it.
func (c *client) learn(ctx context.Context) error {
	var all []*protocol.Statement
	for after := uint64(0); ; {
		var page protocol.RESTLog
		if err := c.call(ctx, http.MethodGet, fmt.Sprintf("/log?after=%d", after), nil, &page); err != nil {
			return err
		}
		for _, text := range page.Statements {
			st, err := protocol.ParseTextIn(c.mesh, text)
			if err != nil {
				return err
			}
			all = append(all, st)
		}
		if !page.More || page.Cursor <= after {
			break
		}
		after = page.Cursor
	}
	if len(all) == 0 || all[0].Kind != protocol.KindCharter {
		return errors.New("the broker has no charter of the mesh")
	}
	c.view = protocol.NewView(all[0], all[1:], protocol.Pins{})
	if !c.view.Verified(c.member) {
		return errors.New("the member whose key this is was removed from the mesh")
	}
	return nil
}

// send seals a message to the one member of that name, and returns its id when it is on the broker's disk. Its recipient would
// take none under a topic that is not the key's.
func (c *client) send(ctx context.Context, name, topic, text string) (string, error) {
	to, err := c.find(name)
	if err != nil {
		return "", err
	}
	if topic == "" && len(c.topics) == 1 {
		topic = c.topics[0]
	}
	if len(c.topics) > 0 && !slices.Contains(c.topics, topic) {
		return "", fmt.Errorf("this key writes under the topics %s only", strings.Join(c.topics, ", "))
	}
	c.seq[to]++
	h := &protocol.Header{
		ID: protocol.NewClientID(), Mesh: c.mesh, From: c.secret.Key.Public(), Member: c.member, To: to.String(), Prio: protocol.PriorityNext,
		TS: time.Now().UnixMilli(), Ep: c.epoch, Seq: c.seq[to], Log: c.view.Digest(), Att: c.att, Topic: topic,
	}
	shared, err := c.secret.Key.Shared(to)
	if err != nil {
		return "", err
	}
	nonce, ciphertext, err := protocol.SealDirect(h, []byte(text), c.secret.Key, &shared)
	if err != nil {
		return "", err
	}
	frame := protocol.Send{
		Tag: protocol.Tag{Type: protocol.TypeSend}, ID: h.ID, TargetSpec: h.To, Priority: h.Prio,
		Nonce: base64.StdEncoding.EncodeToString(nonce), Ciphertext: base64.StdEncoding.EncodeToString(ciphertext),
	}
	var sent protocol.RESTSent
	err = c.call(ctx, http.MethodPost, "/messages", frame, &sent)
	return sent.ID, err
}

func (c *client) find(name string) (to crypto.PublicKey, err error) {
	for _, m := range c.view.Members() {
		if m.Name != name {
			continue
		}
		if !to.IsZero() {
			return to, fmt.Errorf("two members are called %s", name)
		}
		to = m.Key
	}
	if to.IsZero() {
		return to, fmt.Errorf("no member is called %s", name)
	}
	return to, nil
}

// read opens what waits for us and acknowledges it. What does not open is left where it is.
func (c *client) read(ctx context.Context, each func(*protocol.Message)) error {
	opener := &protocol.Opener{
		Mesh: c.mesh, View: c.view, Now: time.Now(), Member: c.secret.Key.Public(), // the one key that anything here opens with
		Shared: func(_, peer crypto.PublicKey) (crypto.Key, error) { return c.secret.Key.Shared(peer) },
	}
	for after := ""; ; {
		var page protocol.RESTMessages
		if err := c.call(ctx, http.MethodGet, "/messages?after="+url.QueryEscape(after), nil, &page); err != nil {
			return err
		}
		if len(page.Messages) == 0 {
			return nil
		}
		after = page.Cursor
		for _, row := range page.Messages {
			var push protocol.Push
			err := json.Unmarshal(row.Frame, &push)
			var m *protocol.Message
			if err == nil && push.Type == protocol.TypePush {
				m, err = opener.Open(push.Incoming())
			}
			if err != nil { // a stranger, or a liar: it must not keep the others from us
				fmt.Fprintf(os.Stderr, "row %s: %v\n", row.Row, err)
				continue
			}
			if m != nil {
				each(m)
			}
			ack := protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: row.Row}
			if err := c.call(ctx, http.MethodPost, "/messages/ack", ack, new(protocol.RESTAck)); err != nil {
				return err
			}
		}
	}
}

// call makes one request. Only the bearer goes with it: the seed seals, and stays here.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.secret.Bearer.Text())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var refusal protocol.RESTError
		if json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&refusal) != nil || refusal.Message == "" {
			return fmt.Errorf("%s %s: %s", method, path, res.Status)
		}
		return fmt.Errorf("%s %s: %s (%s)", method, path, refusal.Message, refusal.Code)
	}
	return json.NewDecoder(res.Body).Decode(out)
}
