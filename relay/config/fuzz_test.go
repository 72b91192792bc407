package config

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzRelayFile: whatever stands in the file, it is an error or a configuration that says the same when it is written
// again.
func FuzzRelayFile(f *testing.F) {
	for _, file := range []string{
		`{}`, `null`, `[]`, `{"hostname":"mx1.example.com","queue":{"retryInitialSeconds":300}}`,
		`{"hostname":"a.example","routes":[{"name":"r","match":{"recipientDomains":["b.example"]},"lmtp":{"host":"h","port":24},"verifyRecipients":"Probe"}]}`,
		`{"hostname":"a.example","listeners":[{"name":"smtp","port":2525,"mode":"Relay","tls":"None","proxyCIDRs":["10.0.0.0/8"]}]}`,
		`{"hostname":"a.example","filters":[{"name":"f","timeoutSeconds":5,"onFailure":"Defer","dnsbl":{"zones":["z.example"],"action":"Reject"}}]}`,
		`{"hostname":"a.example"} {"hostname":"b.example"}`, `{"hostname":"a.example","color":"red"}`, `{"queue":{"maxMessageBytes":1e400}}`,
	} {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		var first, second Config
		if err := first.take(RelayFile, file); err != nil {
			return
		}
		again, err := json.Marshal(first.Relay)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.take(RelayFile, again); err != nil {
			t.Fatalf("%v in %s", err, again)
		}
		third, err := json.Marshal(second.Relay)
		if err != nil || !reflect.DeepEqual(again, third) {
			t.Errorf("%s\nbecame\n%s\n%v", again, third, err)
		}
	})
}
