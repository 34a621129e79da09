package inbox

// What this machine keeps of others. A broker has limits of its own; these hold against one that has none.
const (
	// UnseenMessages and UnseenBytes are what one member may have here that nobody saw: far more than a person reads up on after a
	// holiday. Beyond that his messages are refused, and he is told so.
	UnseenMessages = 10_000
	UnseenBytes    = 64 << 20

	// LinkMessages and LinkBytes are the same for everybody who came by one link and is not admitted. It is what a broker lets
	// wait of him: he says who he is, and asks once more.
	LinkMessages = 100
	LinkBytes    = 1 << 20

	// InvitedMessages and InvitedBytes are the same for all in a mesh who are not admitted: they have a room of their own, and take
	// none of the members'.
	InvitedMessages = 1000
	InvitedBytes    = 4 << 20

	// UnknownMessages and UnknownBytes are what may wait of one member of whom no certificate is here yet. His is on its way for
	// seconds; who has none for longer is the broker's invention.
	UnknownMessages = 100
	UnknownBytes    = 4 << 20

	// HeldMessages and HeldBytes are the same for all of a mesh.
	HeldMessages = 1000
	HeldBytes    = 16 << 20

	// inboxBytes is what may be here in all that nobody saw, over all meshes: a disk has that to spare, and eight people would have
	// to fill their shares.
	inboxBytes = 512 << 20

	// RowBytes is what a message costs beside its text: its row, the two in which its ids are found, the one in which it waits, the
	// one that remembers it.
	RowBytes = 1 << 10
)
