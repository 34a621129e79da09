package protocol

import (
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"
)

// The frames of which the broker writes many are put together here, byte by byte. encoding/json reads from them what it
// would have written. Values may be any bytes, except those that are said to be base64: these are not looked at again, so
// they must come from a Split function or an encoder.

// PushView is what AppendPush writes. What is empty is left out, except nonce and ciphertext.
type PushView struct {
	MessageID          []byte
	MeshID             []byte
	SenderPubkey       []byte
	SenderMemberPubkey []byte
	SenderName         []byte
	TargetSpec         []byte
	Priority           []byte
	Nonce              []byte // base64
	Ciphertext         []byte // base64
	Key                []byte // base64
	CreatedAt          int64  // Unix ms
	ClientMessageID    []byte
	ReplyToID          []byte
	Topic              []byte
}

// ReceiptView is what AppendReceipt writes. What is empty is left out.
type ReceiptView struct {
	ReceiptID       []byte
	MessageID       []byte
	ClientMessageID []byte
	Recipient       []byte
	State           []byte
	Reason          []byte
	At              int64 // Unix ms
	Proof           *SealedView
}

// AppendAck appends the ack of a send that is on disk. reqID is left out when it is empty.
func AppendAck(dst, reqID, id, messageID []byte) []byte {
	dst = append(dst, `{"type":"ack"`...)
	dst = appendField(dst, `,"_reqId":`, reqID)
	dst = appendQuoted(append(dst, `,"id":`...), id)
	dst = appendQuoted(append(dst, `,"messageId":`...), messageID)
	return append(dst, `,"queued":true}`...)
}

// AppendPush appends a push frame. createdAt is written as RFC 3339 in UTC with milliseconds.
func AppendPush(dst []byte, p *PushView) []byte {
	dst = append(dst, `{"type":"push"`...)
	dst = appendField(dst, `,"messageId":`, p.MessageID)
	dst = appendField(dst, `,"meshId":`, p.MeshID)
	dst = appendField(dst, `,"senderPubkey":`, p.SenderPubkey)
	dst = appendField(dst, `,"senderMemberPubkey":`, p.SenderMemberPubkey)
	dst = appendField(dst, `,"senderName":`, p.SenderName)
	dst = appendField(dst, `,"targetSpec":`, p.TargetSpec)
	dst = appendField(dst, `,"priority":`, p.Priority)
	dst = appendBase64(dst, `,"nonce":"`, p.Nonce)
	dst = appendBase64(dst, `,"ciphertext":"`, p.Ciphertext)
	if len(p.Key) != 0 {
		dst = appendBase64(dst, `,"key":"`, p.Key)
	}
	dst = append(dst, `,"createdAt":"`...)
	dst = appendTime(dst, p.CreatedAt)
	dst = append(dst, '"')
	dst = appendField(dst, `,"client_message_id":`, p.ClientMessageID)
	dst = appendField(dst, `,"replyToId":`, p.ReplyToID)
	dst = appendField(dst, `,"topic":`, p.Topic)
	return append(dst, '}')
}

// AppendReceipt appends a receipt frame as the broker sends it.
func AppendReceipt(dst []byte, r *ReceiptView) []byte {
	dst = append(dst, `{"type":"receipt"`...)
	dst = appendField(dst, `,"receiptId":`, r.ReceiptID)
	dst = appendField(dst, `,"messageId":`, r.MessageID)
	dst = appendField(dst, `,"clientMessageId":`, r.ClientMessageID)
	dst = appendField(dst, `,"recipient":`, r.Recipient)
	dst = appendField(dst, `,"state":`, r.State)
	dst = appendField(dst, `,"reason":`, r.Reason)
	dst = strconv.AppendInt(append(dst, `,"at":`...), r.At, 10)
	if r.Proof != nil {
		dst = appendSealed(append(dst, `,"proof":`...), r.Proof)
	}
	return append(dst, '}')
}

func appendSealed(dst []byte, s *SealedView) []byte {
	dst = append(dst, '{')
	if len(s.Sender) != 0 {
		dst = append(appendQuoted(append(dst, `"sender":`...), s.Sender), ',')
	}
	dst = appendBase64(dst, `"nonce":"`, s.Nonce)
	dst = appendBase64(dst, `,"ciphertext":"`, s.Ciphertext)
	if len(s.Key) != 0 {
		dst = appendBase64(dst, `,"key":"`, s.Key)
	}
	return append(dst, '}')
}

// appendField appends a member of an object, unless its value is empty.
func appendField(dst []byte, name string, value []byte) []byte {
	if len(value) == 0 {
		return dst
	}
	return appendQuoted(append(dst, name...), value)
}

// lastSecond is the text of the last second that appendTime wrote: a burst of frames bears few different ones.
var lastSecond atomic.Pointer[secondText]

type secondText struct {
	unix int64
	text [len("2006-01-02T15:04:05.")]byte
}

// appendTime appends a time in Unix milliseconds as RFC 3339 in UTC with three digits of milliseconds.
func appendTime(dst []byte, ms int64) []byte {
	sec, rest := ms/1000, ms%1000
	if rest < 0 {
		sec, rest = sec-1, rest+1000
	}
	s := lastSecond.Load()
	if s == nil || s.unix != sec {
		s = &secondText{unix: sec}
		text := time.Unix(sec, 0).UTC().AppendFormat(nil, "2006-01-02T15:04:05.")
		if len(text) != len(s.text) { // a year of five digits
			return time.UnixMilli(ms).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
		}
		copy(s.text[:], text)
		lastSecond.Store(s)
	}
	dst = append(dst, s.text[:]...)
	return append(dst, byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10), 'Z')
}

func appendBase64(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, value...)
	return append(dst, '"')
}

// appendQuoted appends any text as JSON. Only what needs escapes costs an allocation.
func appendQuoted(dst, text []byte) []byte {
	for _, c := range text {
		if byteClasses[c]&plainClass == 0 {
			b, err := json.Marshal(string(text))
			if err != nil {
				panic("protocol: a string is not JSON")
			}
			return append(dst, b...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
