package bench

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/claudemesh/claudemesh/protocol"
)

// surround makes what a cost per message must not depend on: meshes, idle connections, messages that wait.
func (g *load) surround(ctx context.Context) error {
	err := each(g.o.Meshes, func(int) error {
		charter, certs, err := found([]*person{newPerson("nobody")})
		if err != nil {
			return err
		}
		return createMesh(ctx, g.target.url, g.o.AdminToken, append([]string{charter.Text()}, certs...))
	})
	if err != nil {
		return fmt.Errorf("make other meshes: %w", err)
	}
	people, meshes, err := idlePeople(g.o.Idle)
	if err != nil {
		return err
	}
	err = each(len(meshes), func(i int) error { return createMesh(ctx, g.target.url, g.o.AdminToken, meshes[i]) })
	if err != nil {
		return fmt.Errorf("make the meshes of the idle: %w", err)
	}
	g.idles = make([]*link, len(people))
	err = each(len(people), func(i int) (err error) {
		g.idles[i], err = dial(ctx, g.target.url, people[i], false, 512)
		return err
	})
	for _, l := range g.idles {
		if l != nil {
			g.all.Go(l.idle)
		}
	}
	if err != nil {
		return fmt.Errorf("connect the idle: %w", err)
	}
	return g.enqueue(ctx)
}

// enqueue has Options.Queued messages wait for somebody who is away.
func (g *load) enqueue(ctx context.Context) error {
	if g.o.Queued == 0 {
		return nil
	}
	writer := newPerson("writer")
	charter, certs, err := found([]*person{writer, g.w.away})
	if err != nil {
		return err
	}
	if err := createMesh(ctx, g.target.url, g.o.AdminToken, append([]string{charter.Text()}, certs...)); err != nil {
		return err
	}
	l, err := dial(ctx, g.target.url, writer, false, readBuffer)
	if err != nil {
		return err
	}
	defer l.ws.Close()
	failed := make(chan error, 1)
	go func() { failed <- g.collectAcks(l) }() // ends with the last ack or the connection
	nonce, text := make([]byte, 24), make([]byte, g.o.Size+400)
	for i := range g.o.Queued {
		s := protocol.Send{ID: messageID(g.w.run, 0, i), TargetSpec: g.w.away.key.Public().String(), Priority: protocol.PriorityNext}
		letter, err := newLetter(0, s, nonce, text)
		if err != nil {
			return err
		}
		if err := l.write(letter.frame); err != nil {
			return err
		}
	}
	if err := l.gather.flush(); err != nil {
		return err
	}
	return <-failed
}

func (g *load) collectAcks(l *link) error {
	var buf []byte
	var err error
	for n := 0; n < g.o.Queued; {
		if buf, err = l.next(buf); err != nil {
			return err
		}
		var ack protocol.Ack
		if json.Unmarshal(buf, &ack) != nil || ack.Type != protocol.TypeAck {
			continue
		}
		if !ack.Queued {
			return protocol.Refuse(ack.Code, "%s", ack.Error)
		}
		n++
	}
	return nil
}
