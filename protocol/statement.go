package protocol

import (
	"encoding/hex"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
)

// ID is the BLAKE2b-256 of a statement's block. The signatures are not part of it.
type ID [32]byte

// String returns 64 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads exactly what String gives.
func ParseID(s string) (ID, error) {
	id, err := crypto.ParsePublicKey(s) // the same 32 bytes in hex
	if err != nil {
		return ID{}, Refuse(CodeInvalid, "a statement id is 64 lower-case hex digits")
	}
	return ID(id), nil
}

// Statement is a block with the signatures of those who say it, all verified: Parse and Sign are the only ways to one. It
// proves who said what. Whether that counts is for a View to tell. It never changes; nobody may write to its Body.
type Statement struct {
	Kind string
	ID   ID
	Body Body

	mesh MeshID
	raw  []byte
}

// Parse reads a statement as it was received. It checks, in this order: its size; magic, context and number of fields; the rule of
// each field; that there are as many signatures as signers and nothing is left over; the signatures. It does not ask whether a signer had the authority.
// Errors are *Error of CodeBadStatement or CodeBadSignature.
func Parse(raw []byte) (*Statement, error) {
	return parse(raw, "")
}

// ParseIn is Parse for a reader who knows the mesh: a statement of another one is refused with CodeForeign, before the cost
// of its signatures.
func ParseIn(mesh MeshID, raw []byte) (*Statement, error) {
	return parse(raw, mesh)
}

// ParseText is Parse of base64url without padding, the form on the wire. A value has one spelling; others are refused.
func ParseText(s string) (*Statement, error) {
	raw, err := decodeStatement(s)
	if err != nil {
		return nil, err
	}
	return Parse(raw)
}

// ParseTextIn is ParseIn of base64url without padding.
func ParseTextIn(mesh MeshID, s string) (*Statement, error) {
	raw, err := decodeStatement(s)
	if err != nil {
		return nil, err
	}
	return ParseIn(mesh, raw)
}

// Sign says body with the keys of all its signers, in the order of the fields: for an enrol the link key and the member's,
// for a session or API key, and the hello of a session, the member's and its own. Lists are put in order. Errors are *Error: of CodeBadStatement for a
// body that breaks a rule, of CodeBadSignature for keys that are not the signers'.
func Sign(body Body, keys ...*crypto.PrivateKey) (*Statement, error) {
	block, err := encodeBody(body)
	if err != nil {
		return nil, err
	}
	signers := body.signers()
	if len(keys) != len(signers) {
		return nil, Refuse(CodeBadSignature, "a statement of kind %s needs %d keys to sign it", body.kind(), len(signers))
	}
	raw := block
	for i, k := range keys {
		if k.Public() != signers[i] {
			return nil, Refuse(CodeBadSignature, "a statement of kind %s is not signed by %s", body.kind(), k.Public().Short())
		}
		sig := k.Sign(block)
		raw = append(raw, sig[:]...)
	}
	return Parse(raw)
}

// Mesh returns the mesh that s is about.
func (s *Statement) Mesh() MeshID { return s.mesh }

// Raw returns the bytes as they were received or signed. The caller must not change them.
func (s *Statement) Raw() []byte { return s.raw }

// Text returns Raw as base64url without padding.
func (s *Statement) Text() string { return base64URL.EncodeToString(s.raw) }

// Signer returns the key whose authority s rests on: the first that signed it.
func (s *Statement) Signer() crypto.PublicKey { return s.Body.signers()[0] }

func decodeStatement(s string) ([]byte, error) {
	if len(s) > base64URL.EncodedLen(MaxStatement) {
		return nil, errStatementSize()
	}
	raw, ok := decodeBase64URL(s)
	if !ok {
		return nil, Refuse(CodeBadStatement, "the statement is not base64url without padding")
	}
	return raw, nil
}

func errStatementSize() *Error {
	return Refuse(CodeBadStatement, "the statement is longer than %d bytes", MaxStatement)
}

// parse is Parse, and with a mesh ParseIn. It copies raw.
func parse(raw []byte, mesh MeshID) (*Statement, error) {
	if len(raw) > MaxStatement {
		return nil, errStatementSize()
	}
	raw = slices.Clone(raw)
	ctx, all, sigs, err := DecodeBlock(raw)
	if err != nil {
		return nil, err
	}
	kind, ok := bodies[ctx]
	if !ok {
		return nil, Refuse(CodeBadStatement, "%s is not a kind of statement", quoted(ctx))
	}
	if len(all) != kind.fields {
		return nil, Refuse(CodeBadStatement, "%s statement: %d fields instead of %d", ctx, len(all), kind.fields)
	}
	block := raw[:len(raw)-len(sigs)]
	s := &Statement{Kind: ctx, ID: ID(crypto.Hash(block)), Body: kind.empty(), raw: raw}
	if err := decodeBody(s.Body, all, mesh); err != nil {
		return nil, err
	}
	s.mesh = meshOf(s.Body, block)
	if mesh != "" && s.mesh != mesh {
		return nil, Refuse(CodeForeign, "%s statement: it is about another mesh", ctx)
	}
	signers := s.Body.signers()
	if want := len(signers) * crypto.SignatureSize; len(sigs) != want {
		return nil, Refuse(CodeBadStatement, "%s statement: %d bytes of signatures instead of %d", ctx, len(sigs), want)
	}
	for i, signer := range signers {
		sig := crypto.Signature(sigs[i*crypto.SignatureSize : (i+1)*crypto.SignatureSize])
		if !crypto.Verify(signer, block, sig) {
			return nil, Refuse(CodeBadSignature, "%s statement: the signature of %s is wrong", ctx, signer.Short())
		}
	}
	return s, nil
}

// encodeBody returns the block of b, or an *Error.
func encodeBody(b Body) ([]byte, error) {
	f := &fields{ctx: b.kind()}
	b.visit(f)
	if f.err != nil {
		return nil, f.err
	}
	block := EncodeBlock(f.ctx, f.all...)
	if len(block)+len(b.signers())*crypto.SignatureSize > MaxStatement {
		return nil, errStatementSize()
	}
	return block, nil
}

// decodeBody fills b from its fields, or returns an *Error. The mesh is the reader's, if he knows it.
func decodeBody(b Body, all [][]byte, mesh MeshID) error {
	f := &fields{ctx: b.kind(), decoding: true, all: all, known: mesh}
	b.visit(f)
	if f.err != nil {
		return f.err
	}
	return nil
}

// meshOf returns the mesh that b is about; block is b's own, and hashed for a charter.
func meshOf(b Body, block []byte) MeshID {
	switch b := b.(type) {
	case *Charter:
		return meshIDOf(block)
	case *OwnerChange:
		return b.Mesh
	case *Cert:
		return b.Mesh
	case *Revoke:
		return b.Mesh
	case *Invite:
		return b.Mesh
	case *Enrol:
		return b.Mesh
	case *Session:
		return b.Mesh
	case *APIKey:
		return b.Mesh
	case *HelloAuth:
		return b.Mesh
	case *Op:
		return b.Mesh
	case *BlobPass:
		return b.Mesh
	}
	panic("protocol: body of an unknown type")
}
