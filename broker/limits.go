package broker

import (
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// The defaults of Limits, each with its reason.
const (
	defaultBurst           = 1000                      // a daemon that was offline drains its outbox without waiting
	defaultRate            = 200                       // messages a second: far above what people and agents write, far below what hurts
	defaultQueueMessages   = 10_000                    // a week of a busy peer
	defaultQueueBytes      = 64 << 20                  // 500 of the largest messages
	defaultShareMessages   = 2500                      // a quarter of a queue: no single person fills it
	defaultShareBytes      = 16 << 20                  // likewise
	defaultLinkMessages    = 100                       // who waits to be admitted says who he is and asks once more; he holds no conversation
	defaultLinkBytes       = 1 << 20                   // 10 KiB each
	defaultInvitedMessages = 400                       // four links at a time: more than one person lets in at once
	defaultInvitedBytes    = 4 << 20                   // of four links
	defaultWindow          = 1024                      // unacknowledged pushes: enough for a full pipe at 100 ms and 2,000 messages a second
	defaultWindowBytes     = 1 << 20                   // what a slow connection may hold of our memory and of the kernel's
	defaultConnsAddress    = 512                       // an office behind one address; loopback, where proxies live, is exempt
	defaultConnsMesh       = 4096                      // as many as a mesh may have members
	defaultConnsMember     = 128                       // sessions of one person at a time, on his one machine; a mesh has room for 32 who go so far
	defaultConnsLink       = 128                       // of all who came by one link and are not admitted: a whole team, for as long as nobody lets it in
	defaultReplyBytes      = 256 << 10                 // a thousand answers; who does not read them may not ask on
	defaultWriteTimeout    = 10 * time.Second          // a phone that changes cells is back in less
	defaultCardEvery       = 10 * time.Second          // a card is wrapped for every member: it must not be chatter
	defaultEnrolSlack      = 32                        // enrolments of a link beyond its uses: the issuer decides, we only bound the disk
	defaultMaxSessions     = 256                       // session keys of one member that can be written to: a control connection watches them all
	defaultHTTPBody        = 1 << 20                   // a charter and certificates are far below
	defaultJoinWait        = 10 * time.Second          // an issuer who is online certifies within one round trip
	defaultDrain           = 2 * time.Second           // over which a drain spreads the closes, so that not all return at once
	defaultDedupe          = 4096                      // client ids a member: a sender has at most 1,024 unacknowledged
	defaultListBytes       = protocol.MaxFrame * 3 / 4 // well below the frame limit, with room for what we estimate badly
	defaultStreamsPerKey   = 4                         // a program that reconnects before its old stream is known to be dead
	defaultStreamsMember   = 64                        // of sixteen programs
	defaultStreams         = 1024                      // each holds a connection and a goroutine
	defaultFileBytes       = protocol.MaxBlobSize      // a file of 100 MiB, encrypted
	defaultMemberFileBytes = 512 << 20                 // five of the largest files
	defaultMemberFiles     = 1000                      // a build that sends its log every ten minutes for a week
	defaultMeshFileBytes   = 4 << 30                   // eight members who fill theirs
	defaultFileLife        = 7 * 24 * time.Hour        // somebody who is away for a week
	defaultUploadLife      = 24 * time.Hour            // a laptop that is opened again the next day
	defaultHTTPPerAddress  = 30                        // joins and creations a minute from one address: each costs four signature checks
)

// Limits are what one client, address or mesh may use. A refusal names the limit; none ever loses what was acknowledged.
type Limits struct {
	PreHello     int64         // bytes of a frame before hello
	HelloTimeout time.Duration // from accept to an accepted hello
	PingEvery    time.Duration
	Silence      time.Duration // without a frame, ping or pong until the connection counts as dead
	WriteTimeout time.Duration // for one flush to a peer that does not read
	ReplyBytes   int           // replies waiting for a peer; above it we stop reading from him
	ListBytes    int           // of the answer to a list; what does not fit is pushed behind it

	Burst         int     // requests that one member may make at once, over all his connections
	Rate          float64 // requests a second to refill it
	QueueMessages int     // of one recipient, then the sender hears queue_full
	QueueBytes    int64
	// ShareMessages and ShareBytes are what may wait of one member for one person, over all their keys. Of those who came by a link and are
	// not admitted LinkMessages and LinkBytes may wait in the mesh for each link, InvitedMessages and InvitedBytes for one person.
	ShareMessages   int
	ShareBytes      int64
	LinkMessages    int
	LinkBytes       int64
	InvitedMessages int
	InvitedBytes    int64
	Window          int // frames pushed and not acknowledged, per connection
	WindowBytes     int
	Dedupe          int // client ids remembered per sender member

	ConnsPerAddress  int
	ConnsPerMesh     int
	ConnsPerMember   int           // of one member, leases included; his control connection has its place beside his sessions
	ConnsPerLink     int           // of all who came by one link and are not admitted
	HTTPPerAddress   int           // joins and creations a minute
	HTTPBody         int64         // bytes of a request body
	JoinWait         time.Duration // longest hold of an answer to /join
	StreamsPerKey    int           // event streams of one API key
	StreamsPerMember int           // of all keys of one member
	Streams          int           // and of all
	EnrolSlack       int           // enrolments kept per link beyond its uses
	MaxSessions      int           // session keys kept per member; the oldest gives way

	FileBytes       int64         // of one file, encrypted
	MemberFileBytes int64         // of one member's files
	MemberFiles     int           // and how many they may be
	MeshFileBytes   int64         // of all files of a mesh
	FileLife        time.Duration // of a file that is complete
	UploadLife      time.Duration // since the last byte of one that is not

	Lease     time.Duration // by which a presence outlives its connection, or the first sign of life that did not come
	CardEvery time.Duration // between two cards of one connection
	Retention time.Duration // of a queued message, at most protocol.MaxRetention
	Drain     time.Duration // over which Close spreads the ends of connections
}

// orDefault sets *v to d where it is zero.
func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.PreHello, protocol.MaxPreHello)
	orDefault(&l.HelloTimeout, protocol.HelloTimeout)
	orDefault(&l.PingEvery, protocol.PingEvery)
	orDefault(&l.Silence, protocol.SilenceLimit)
	orDefault(&l.WriteTimeout, defaultWriteTimeout)
	orDefault(&l.ReplyBytes, defaultReplyBytes)
	orDefault(&l.ListBytes, defaultListBytes)
	orDefault(&l.Burst, defaultBurst)
	orDefault(&l.Rate, defaultRate)
	orDefault(&l.QueueMessages, defaultQueueMessages)
	orDefault(&l.QueueBytes, defaultQueueBytes)
	orDefault(&l.ShareMessages, defaultShareMessages)
	orDefault(&l.ShareBytes, defaultShareBytes)
	orDefault(&l.LinkMessages, defaultLinkMessages)
	orDefault(&l.LinkBytes, defaultLinkBytes)
	orDefault(&l.InvitedMessages, defaultInvitedMessages)
	orDefault(&l.InvitedBytes, defaultInvitedBytes)
	orDefault(&l.Window, defaultWindow)
	orDefault(&l.WindowBytes, defaultWindowBytes)
	orDefault(&l.Dedupe, defaultDedupe)
	orDefault(&l.ConnsPerAddress, defaultConnsAddress)
	orDefault(&l.ConnsPerMesh, defaultConnsMesh)
	orDefault(&l.ConnsPerMember, defaultConnsMember)
	orDefault(&l.ConnsPerLink, defaultConnsLink)
	orDefault(&l.HTTPPerAddress, defaultHTTPPerAddress)
	orDefault(&l.StreamsPerKey, defaultStreamsPerKey)
	orDefault(&l.StreamsPerMember, defaultStreamsMember)
	orDefault(&l.Streams, defaultStreams)
	orDefault(&l.HTTPBody, defaultHTTPBody)
	orDefault(&l.FileBytes, defaultFileBytes)
	orDefault(&l.MemberFileBytes, defaultMemberFileBytes)
	orDefault(&l.MemberFiles, defaultMemberFiles)
	orDefault(&l.MeshFileBytes, defaultMeshFileBytes)
	orDefault(&l.FileLife, defaultFileLife)
	orDefault(&l.UploadLife, defaultUploadLife)
	orDefault(&l.JoinWait, defaultJoinWait)
	orDefault(&l.EnrolSlack, defaultEnrolSlack)
	orDefault(&l.MaxSessions, defaultMaxSessions)
	orDefault(&l.Lease, protocol.PresenceLease)
	orDefault(&l.CardEvery, defaultCardEvery)
	orDefault(&l.Retention, protocol.RetentionDays*24*time.Hour)
	orDefault(&l.Drain, defaultDrain)
	l.Retention = min(l.Retention, protocol.MaxRetention)
	return l
}
