package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of files. Those of a broker may be lower.
const (
	MaxFiles      = 16        // of one message
	MaxFileSize   = 100 << 20 // bytes of one file
	MaxFileName   = 255       // bytes
	MaxBlobSize   = MaxFileSize + MaxFileSize>>10 + 4096
	BlobPart      = 4 << 20 // bytes of one part of an upload, and of a range that is read
	blobKeyPrefix = "AGE-SECRET-KEY-1"
	blobKeyLength = 74
)

// FileRef is a file in the signed header of a message: the ciphertext lies at the broker as the blob of the message's member, and
// the key opens it. Whoever can change neither the header nor guess the key can neither swap nor add a file.
type FileRef struct {
	Name   string // as the sender calls it: nothing to make a path of
	Size   int64  // of the content
	SHA256 [32]byte
	Blob   BlobID
	Key    string // an age identity (X25519), made for this file alone
}

// CheckFile reports why a header cannot carry f.
func CheckFile(f *FileRef) error {
	switch {
	case f.Name == "" || len(f.Name) > MaxFileName || !utf8.ValidString(f.Name):
		return fmt.Errorf("name is not 1 to %d bytes of UTF-8", MaxFileName)
	case f.Size < 0 || f.Size > MaxFileSize:
		return fmt.Errorf("size is not from 0 to %d", int64(MaxFileSize))
	case len(f.Key) != blobKeyLength || !strings.HasPrefix(f.Key, blobKeyPrefix) || !only(f.Key, isBech32):
		return errors.New("key is not an age identity")
	}
	return nil
}

func isBech32(c byte) bool { return c == '-' || digit(c) || c >= 'A' && c <= 'Z' }

// fileJSON is a FileRef in a header.
type fileJSON struct {
	Name   string `json:"name"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256"`
	Blob   string `json:"blob"`
	Key    string `json:"key"`
}

// encodeFiles returns the JSON list of files that are in order.
func encodeFiles(files []FileRef) ([]byte, error) {
	list := make([]fileJSON, len(files))
	for i, f := range files {
		list[i] = fileJSON{f.Name, f.Size, hex.EncodeToString(f.SHA256[:]), f.Blob.String(), f.Key}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(list)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// decodeFiles reads what encodeFiles wrote, and as strictly as the header that raw was taken off.
func decodeFiles(raw []byte) ([]FileRef, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, errors.New("is not a list of files")
	}
	if len(list) > MaxFiles {
		return nil, fmt.Errorf("has %d files, at most %d are possible", len(list), MaxFiles)
	}
	files := make([]FileRef, len(list))
	for i := range list {
		if err := files[i].decode(list[i]); err != nil {
			return nil, fmt.Errorf("file %d: %w", i+1, err)
		}
	}
	return files, nil
}

func (f *FileRef) decode(raw []byte) error {
	seen, err := readObject(raw, f.decodeField)
	if err != nil {
		return err
	}
	for _, name := range [...]string{"name", "sha256", "blob", "key"} { // the size of an empty file is absent
		if !seen.has(name) {
			return fmt.Errorf("%q is missing", name)
		}
	}
	return nil
}

func (f *FileRef) decodeField(name string, v *valueReader) error {
	if name == "size" {
		n, err := v.integer()
		f.Size = int64(n)
		return err
	}
	s, err := v.text()
	if err != nil {
		return err
	}
	switch name {
	case "name":
		f.Name = s
	case "key":
		f.Key = s
	case "blob":
		f.Blob, err = ParseBlobID(s)
	case "sha256":
		if len(s) != 64 || !only(s, isHexByte) {
			return errors.New("is not 64 hex digits")
		}
		_, err = hex.Decode(f.SHA256[:], []byte(s))
	default:
		err = errors.New("is not known")
	}
	return err
}

// checkFiles holds files to their rules and to the kind of message that they come with.
func (h *Header) checkFiles() error {
	if len(h.Files) == 0 {
		return nil
	}
	if len(h.Files) > MaxFiles {
		return fmt.Errorf("%d files, at most %d are possible", len(h.Files), MaxFiles)
	}
	if h.Kind == KindReceipt || h.Kind == KindLog || h.Kind == KindCard || h.Kind == KindPing || MemoryKind(h.Kind) {
		return fmt.Errorf("a %s has no files", h.Kind)
	}
	for i := range h.Files {
		if err := CheckFile(&h.Files[i]); err != nil {
			return fmt.Errorf("file %d: %w", i+1, err)
		}
	}
	return nil
}

// FileInfo is a file of a message as everybody but its saver sees it. The key is not in it.
type FileInfo struct {
	Name   string `json:"name"` // reduced to what is safe as the base name of a file
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// SentFile is a file of a message that was sent from here.
type SentFile struct {
	FileInfo
	Uploaded int64 `json:"uploaded"` // bytes of it that the broker has
}

// StagedFile answers POST /v1/files: the daemon has the content, encrypted, on its disk. It is forgotten when no message takes it
// within an hour.
type StagedFile struct {
	OK bool   `json:"ok"`
	ID string `json:"id"` // for SendRequest.Files
	FileInfo
}

// FetchedHeader is in the 102 answers of the daemon while it fetches a file: how many bytes are here.
const FetchedHeader = "Claudemesh-Fetched"
