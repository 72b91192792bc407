package spool

import (
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// fill gives every field of a struct a value of its own, so that one that a record forgets is missed.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.Repeat("é", int(*n)))
	case reflect.Int, reflect.Int64:
		v.SetInt(*n * 1000)
	case reflect.Uint8:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(*n, *n).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" { // what is not kept says so
				fill(v.Field(i), n)
			}
		}
	default:
		panic("a kind of field that records cannot hold yet: " + v.Kind().String())
	}
}

func full() envelope.Envelope {
	var e envelope.Envelope
	n := int64(0)
	fill(reflect.ValueOf(&e).Elem(), &n)
	for i := range e.Recipients {
		e.Recipients[i].State = envelope.Queued
	}
	return e
}

func TestEntryRecordsKeepEveryField(t *testing.T) {
	bare := envelope.Envelope{ID: "I", Domain: "d.test", Recipients: []envelope.Recipient{{Address: "a@d.test", State: envelope.Queued}}}
	for name, e := range map[string]envelope.Envelope{"full": full(), "bare": bare} {
		got, err := decodeEntry(e.Key(), encodeEntry(&e))
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: %v\n%+v became\n%+v", name, err, e, got)
		}
		counts, err := decodeCounts(entryKey(e.Key()), encodeEntry(&e))
		if err != nil || counts != countsOf(&e) {
			t.Errorf("%s: counted %+v, not %+v: %v", name, counts, countsOf(&e), err)
		}
	}
}

// TestEntryOfFormat1 reads a record as the first version wrote it.
func TestEntryOfFormat1(t *testing.T) {
	record, err := hex.DecodeString("01020205087340732e7465737406732e746573740175095375626d69747465648080a0bbd29df1fa310e03776879086140642e74657374048080a0bbd29df1fa3103860705342e372e31056c61746572016801748080a0bbd29df1fa31")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0).UTC()
	want := envelope.Envelope{
		ID: "I", Domain: "d.test", ReversePath: "s@s.test", Tenant: "s.test", User: "u", Origin: envelope.Submitted,
		Accepted: at, Size: 7, EightBit: true, Held: "why",
		Recipients: []envelope.Recipient{{
			Address: "a@d.test", State: envelope.Queued, Attempts: 2, Due: at, DelayNotified: true,
			Last: &envelope.Outcome{
				Reply: reply.Reply{Code: 451, Enhanced: "4.7.1", Text: "later"}, NextHop: "h", TLS: "t", At: at,
			},
		}},
	}
	if got, err := decodeEntry(want.Key(), record); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v", err, got)
	}
	if got, err := decodeCounts(entryKey(want.Key()), record); err != nil || got != countsOf(&want) {
		t.Errorf("counted %+v, %v", got, err)
	}
}

// TestEntryOfFormat2 reads a record as it was written before there were priorities.
func TestEntryOfFormat2(t *testing.T) {
	record, err := hex.DecodeString("0202020a087340732e7465737406732e746573740175095375626d69747465648080a0bbd29df1fa310e0003656e760446554c4c086140642e74657374080f7266633832323b6f40642e74657374048080a0bbd29df1fa3102860705342e372e31056c61746572016801748080a0bbd29df1fa310650617373656448aaf083")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0).UTC()
	want := envelope.Envelope{
		ID: "I", Domain: "d.test", ReversePath: "s@s.test", Tenant: "s.test", User: "u", Origin: envelope.Submitted,
		Accepted: at, Size: 7, UTF8: true, Released: true, EnvelopeID: "env", Return: envelope.ReturnFull,
		Recipients: []envelope.Recipient{{
			Address: "a@d.test", State: envelope.Queued, Attempts: 2, Due: at, Notify: envelope.NotifyDelay, Original: "rfc822;o@d.test",
			Last: &envelope.Outcome{
				Reply: reply.Reply{Code: 451, Enhanced: "4.7.1", Text: "later"}, NextHop: "h", TLS: "t", At: at, Handover: envelope.HandoverPassed,
			},
		}},
	}
	if got, err := decodeEntry(want.Key(), record); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v", err, got)
	}
	if got, err := decodeCounts(entryKey(want.Key()), record); err != nil || got != countsOf(&want) {
		t.Errorf("counted %+v, %v", got, err)
	}
}

func TestRecordsCutShortAreDamaged(t *testing.T) {
	e := full()
	record := encodeEntry(&e)
	for n := range record {
		if _, err := decodeEntry(e.Key(), record[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("entry cut to %d of %d octets: %v", n, len(record), err)
		}
	}
	if _, err := decodeEntry(e.Key(), append(slices.Clone(record), 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("entry with an octet too many: %v", err)
	}
	record = encodeMeta("I", meta{size: 300, chunks: 2, domains: []string{"a.test", "b.test"}})
	for n := range record {
		if _, err := decodeMeta("I", record[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("meta cut to %d octets: %v", n, err)
		}
	}
}

func TestRecordsOfANewerProgramAreRefused(t *testing.T) {
	e := full()
	newer := func(key, record []byte) []byte {
		record[0]++
		return seal(key, record[:len(record)-sumSize])
	}
	record := newer(entryKey(e.Key()), encodeEntry(&e))
	_, err := decodeEntry(e.Key(), record)
	_, counts := decodeCounts(entryKey(e.Key()), record)
	m := newer(metaKey("I"), encodeMeta("I", meta{}))
	_, metaErr := decodeMeta("I", m)
	for _, err := range []error{err, counts, metaErr} {
		if err == nil || !strings.Contains(err.Error(), "newer") || errors.Is(err, ErrDamaged) {
			t.Errorf("%v", err)
		}
	}
}

func TestKeysSortAndSplit(t *testing.T) {
	a, b := envelope.Key{ID: "2", Domain: "a.test"}, envelope.Key{ID: "1", Domain: "a.test.b"}
	if k, ok := parseEntryKey(entryKey(a)); !ok || k != a {
		t.Errorf("%+v became %+v", a, k)
	}
	if string(entryKey(a)) >= string(entryKey(b)) {
		t.Error("a domain sorts behind one that it begins")
	}
	times := []int64{0, 1, 255, 256, 1 << 40, 1<<63 - 1}
	for c := range envelope.Class(envelope.Classes) {
		for i, due := range times {
			if got, ok := parseDueKey(dueKey(c, due, a)); !ok || got != (place{c, due, a}) {
				t.Errorf("%s at %d became %+v", c, due, got)
			}
			if i > 0 && string(dueKey(c, times[i-1], b)) >= string(dueKey(c, due, a)) {
				t.Errorf("due %d sorts behind %d", times[i-1], due)
			}
		}
	}
	for _, cut := range []int{0, 1, 2, 8, 9} {
		if _, ok := parseDueKey(dueKey(envelope.Urgent, 7, a)[:cut]); ok {
			t.Errorf("a key of %d octets was read", cut)
		}
	}
	for _, class := range []byte{otherClass | byte(envelope.Normal), otherClass | envelope.Classes, 0xff} {
		key := dueKey(envelope.Urgent, 7, a)
		key[1] = class
		if p, ok := parseDueKey(key); ok {
			t.Errorf("class %x was read as %s", class, p.class)
		}
	}
}

func TestIDs(t *testing.T) {
	var g ids
	now := time.UnixMilli(1_800_000_000_123)
	seen := map[envelope.ID]bool{}
	last := envelope.ID("")
	for range 1000 {
		id := g.next(now)
		if len(id) != idLen || strings.Trim(string(id), alphabet) != "" || seen[id] || id <= last {
			t.Fatalf("id %q after %q", id, last)
		}
		if !AcceptedAt(id).Equal(now) {
			t.Fatalf("id %q says %v", id, AcceptedAt(id))
		}
		seen[id], last = true, id
	}
	if id := g.next(now.Add(time.Millisecond)); id <= last {
		t.Errorf("%q a millisecond after %q", id, last)
	}
	if got := AcceptedAt("not one of ours"); !got.IsZero() {
		t.Errorf("time %v", got)
	}
}
