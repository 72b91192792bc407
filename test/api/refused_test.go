package api_test

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/config/crd"
)

// refusal is an object that the server must not take. The wanted text is part of what it says.
type refusal struct {
	base  string
	edits edits
	want  string
}

const (
	submission = `[{name: s, port: 587, mode: Submission, tls: {mode: Required, secretRef: {name: t}}, auth: {users: {secretRef: {name: u}}}}]`
	twoRoutes  = `[{name: a, mx: {}}, {name: b, mx: {}}]`
	smartHost  = `[{name: a, smartHosts: [{host: smtp.example.net, port: 587}]}]`
	mailboxes  = `[{name: a, match: {recipientDomains: [example.com]}, lmtp: {host: dovecot}}]`
	backupMX   = `[{name: a, match: {recipientDomains: [example.com]}, backup: {primary: {host: mx.example.com}}}]`
	oauth2Host = `[{name: a, smartHosts: [{host: smtp.example.net, port: 587, secretRef: {name: app}, oauth2: {tokenURL: "https://login.example.net/token"}}]}]`
	blockList  = `[{name: lists, dnsbl: {zones: [zen.example.org]}}]`
	spamFilter = `[{name: spam, rspamd: {url: "http://rspamd.mail.svc:11333"}}]`
	virusCheck = `[{name: virus, milter: {host: clamav, port: 7357}}]`
	hook       = `[{name: crm, url: "https://hooks.example.com/mail"}]`
)

var refusals = []refusal{
	// Names.
	{mailRelay, edits{"spec.upgrade": "Sometimes"}, `supported values: "Automatic", "Manual"`},
	{mailRelay, edits{"spec.version": "v1.2.0"}, "version is for relays that are upgraded by hand"},
	{mailRelay, edits{"spec.upgrade": "Manual", "spec.version": "'v1:2'"}, "must be the tag of a relay image"},
	{mailRelay, edits{"metadata.name": "a" + strings.Repeat("b", 40)}, "at most 40 lower case letters"},
	{mailRelay, edits{"metadata.name": "1st"}, "beginning with a letter"},
	{mailRelay, edits{"metadata.name": "a.b"}, "at most 40 lower case letters"},
	{mailRelay, edits{"metadata.name": "outbound-pods"}, "must not end in -pods"},

	// Host names, domains, addresses: no newline, NUL, path, quote.
	{mailRelay, edits{"spec.hostname": ""}, "spec.hostname: Required"},
	{mailRelay, edits{"spec.hostname": "mx1"}, "must be a domain name such as example.com"},
	{mailRelay, edits{"spec.hostname": "MX1.example.com"}, "lower case"},
	{mailRelay, edits{"spec.hostname": `"mx1.example.com\n"`}, "must be a domain name"},
	{mailRelay, edits{"spec.hostname": `"mx1\0.example.com"`}, "must be a domain name"},
	{mailRelay, edits{"spec.hostname": `"../mx1.example.com"`}, "must be a domain name"},
	{mailRelay, edits{"spec.hostname": `"mx1'.example.com"`}, "must be a domain name"},
	{mailRelay, edits{"spec.hostname": "mx1.example.com."}, "no dot at the end"},
	{mailRelay, edits{"spec.hostname": "-mx1.example.com"}, "must be a domain name"},
	{mailRelay, edits{"spec.hostname": strings.Repeat("a", 64) + ".example"}, "must be a domain name"},
	{mailRelay, edits{"spec.hostname": strings.Repeat("a.", 130) + "example"}, "Too long"},
	{mailRelay, edits{"spec.postmaster": ""}, "spec.postmaster: Required"},
	{mailRelay, edits{"spec.postmaster": "postmaster"}, "plain mail address such as ops@example.com"},
	{mailRelay, edits{"spec.postmaster": `"ops@example.com\r\nBcc: eve@example.com"`}, "plain mail address"},
	{mailRelay, edits{"spec.postmaster": `"\"o ps\"@example.com"`}, "plain mail address"},
	{mailRelay, edits{"spec.postmaster": "a@b@example.com"}, "plain mail address"},
	{sendingDomain, edits{"spec.domain": `"acme.example\nd=evil"`}, "must be a domain name"},
	{sendingDomain, edits{"spec.domain": "acme/../b.example"}, "must be a domain name"},
	{sendingDomain, edits{"spec.domain": ""}, "spec.domain: Required"},

	// Listeners.
	{mailRelay, edits{"spec.listeners": ""}, "spec.listeners: Required"},
	{mailRelay, edits{"spec.listeners": "[]"}, "should have at least 1 items"},
	{mailRelay, edits{"spec.listeners": list(9, func(i int) string { return fmt.Sprintf("{name: l%d, port: %d, mode: Relay}", i, 100+i) })}, "must have at most 8 items"},
	{mailRelay, edits{"spec.listeners": "[{name: a, port: 25, mode: Relay}, {name: a, port: 26, mode: Relay}]"}, "Duplicate value"},
	{mailRelay, edits{"spec.listeners": "[{name: a, port: 25, mode: Relay}, {name: b, port: 25, mode: Relay}]"}, "give each a port of its own"},
	{mailRelay, edits{"spec.listeners.0.port": "525"}, "choose another port"},
	{mailRelay, edits{"spec.listeners.0.port": "2001"}, "choose another port"},
	{mailRelay, edits{"spec.listeners.0.port": "3023"}, "choose another port"},
	{mailRelay, edits{"spec.listeners.0.port": "8081"}, "choose another port"},
	{mailRelay, edits{"spec.listeners.0.port": "8443"}, "choose another port"},
	{mailRelay, edits{"spec.listeners.0.port": "9090"}, "choose another port"},
	{mailRelay, edits{"spec.listeners.0.port": "65536"}, "less than or equal to 65535"},
	{mailRelay, edits{"spec.listeners.0.name": "SMTP"}, "usable as the name of a port"},
	{mailRelay, edits{"spec.listeners.0.name": "a--b"}, "usable as the name of a port"},
	{mailRelay, edits{"spec.listeners.0.name": "metrics"}, "ports of the relay itself: choose another name"},
	{mailRelay, edits{"spec.listeners.0.mode": "Open"}, `supported values: "Relay", "Submission"`},
	{mailRelay, edits{"spec.listeners.0.mode": "Submission"}, "a Submission listener needs auth"},
	{mailRelay, edits{"spec.listeners": submission, "spec.listeners.0.auth": "{}"}, "give users, serviceAccounts, or both"},
	{mailRelay, edits{"spec.listeners": submission, "spec.listeners.0.auth.serviceAccounts": "{audience: ''}"}, "should be at least 1 chars long"},
	{mailRelay, edits{"spec.listeners": submission, "spec.listeners.0.auth.serviceAccounts": `{audience: "a\nb"}`}, "must be a name or URL such as postrider.dev/mail/outbound"},
	{mailRelay, edits{"spec.listeners": submission, "spec.listeners.0.auth.serviceAccounts": "{audience: " + strings.Repeat("a", 254) + "}"}, "Too long"},
	{mailRelay, edits{"spec.listeners.0.auth.users.secretRef.name": "u"}, "remove auth, or set mode to Submission"},
	{mailRelay, edits{"spec.listeners": submission, "spec.listeners.0.tls.mode": "Opportunistic"}, "set tls.mode to Required"},
	{mailRelay, edits{"spec.listeners": submission, "spec.listeners.0.tls": ""}, "set tls.mode to Required"},
	{mailRelay, edits{"spec.listeners": submission, "spec.listeners.0.tls.secretRef": ""}, "give secretRef"},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: None, secretRef: {name: t}}"}, "with None remove it"},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: Implicit, secretRef: {name: t}, issuerRef: {name: le}}"}, "or issuerRef, not both"},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: None, issuerRef: {name: le}}"}, "with None remove it"},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: Implicit, secretRef: {name: t}, dnsNames: [a.example]}"}, "dnsNames are for a certificate that is issued"},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: Implicit, issuerRef: {name: le, kind: cluster}}"}, "should match"},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: Implicit, issuerRef: {name: le, namespace: other}}"}, `unknown field "spec.listeners[0].tls.issuerRef.namespace"`},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: Implicit, secretRef: {name: ../other}}"}, "must be the name of a Secret"},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: Implicit, secretRef: {name: t, namespace: other}}"}, `unknown field "spec.listeners[0].tls.secretRef.namespace"`},
	{mailRelay, edits{"spec.listeners.0.tls": "{mode: Implicit, secretRef: {name: " + strings.Repeat("a", 201) + "}}"}, "Too long"},
	{mailRelay, edits{"spec.listeners.0.proxyProtocol": "Required"}, "list the addresses of the proxies"},
	{mailRelay, edits{"spec.listeners.0.proxyProtocol": "Required", "spec.listeners.0.proxyCIDRs": "[]"}, "should have at least 1 items"},
	{mailRelay, edits{"spec.listeners.0.proxyCIDRs": "[10.0.0.0/8]"}, "or remove both"},
	{mailRelay, edits{"spec.listeners.0.proxyProtocol": "Disabled", "spec.listeners.0.proxyCIDRs": "[10.0.0.0/8]"}, "or remove both"},
	{mailRelay, edits{"spec.listeners.0.proxyProtocol": "Optional"}, `supported values: "Disabled", "Required"`},
	{mailRelay, edits{"spec.listeners.0.proxyProtocol": "Required", "spec.listeners.0.proxyCIDRs": "[0.0.0.0/0]"}, "anyone in it would be trusted"},
	{mailRelay, edits{"spec.listeners.0.proxyProtocol": "Required", "spec.listeners.0.proxyCIDRs": "[10.0.0.1]"}, "write 10.0.0.0/8"},
	{mailRelay, edits{"spec.listeners.0.proxyProtocol": "Required", "spec.listeners.0.proxyCIDRs": list(17, func(i int) string { return fmt.Sprintf("10.0.%d.0/24", i) })}, "must have at most 16 items"},
	{mailRelay, edits{"spec.listeners.0.clientAddress": "Forge"}, `supported values: "Record", "Hide"`},

	// Access.
	{mailRelay, edits{"spec.access.trustedCIDRs": "[0.0.0.0/0]"}, "anyone in it would be trusted"},
	{mailRelay, edits{"spec.access.trustedCIDRs": "[0.0.0.0/1, 128.0.0.0/1]"}, "anyone in it would be trusted"},
	{mailRelay, edits{"spec.access.trustedCIDRs": `["::/0"]`}, "anyone in it would be trusted"},
	{mailRelay, edits{"spec.access.trustedCIDRs": `["2000::/15"]`}, "anyone in it would be trusted"},
	{mailRelay, edits{"spec.access.trustedCIDRs": "[10.0.0.1]"}, "write 10.0.0.0/8 or 2001:db8::/32"},
	{mailRelay, edits{"spec.access.trustedCIDRs": list(65, func(i int) string { return fmt.Sprintf("10.0.%d.0/24", i) })}, "must have at most 64 items"},
	{mailRelay, edits{"spec.access.trustedCIDRs": "[10.0.0.0/8, 10.0.0.0/8]"}, "Duplicate value"},
	{mailRelay, edits{"spec.access.undeclaredSenders": "Maybe"}, `supported values: "Reject", "Accept"`},

	// Draining.
	{mailRelay, edits{"spec.drain": "{onDelete: Handoff}"}, "set both, or remove handoffTo and set onDelete to Deliver or Retain"},
	{mailRelay, edits{"spec.drain": "{onDelete: Handoff, handoffTo: {}}"}, "spec.drain.handoffTo.name: Required"},
	{mailRelay, edits{"spec.drain": "{handoffTo: {name: other}}"}, "handoffTo names the MailRelay that gets the mail with onDelete: Handoff, and only then"},
	{mailRelay, edits{"spec.drain": "{onDelete: Retain, handoffTo: {name: other}}"}, "remove handoffTo and set onDelete to Deliver or Retain"},
	{mailRelay, edits{"spec.drain": "{onDelete: Handoff, handoffTo: {name: outbound}}"}, "cannot take its own mail when it is deleted: name another"},
	{mailRelay, edits{"spec.drain": "{onDelete: Handoff, handoffTo: {name: a/b}}"}, "must be the name of an object"},
	{mailRelay, edits{"spec.drain.onDelete": "Drop"}, `supported values: "Deliver", "Handoff", "Retain"`},
	{mailRelay, edits{"spec.drain.onTimeout": "Ignore"}, `supported values: "Hold", "Force"`},
	{mailRelay, edits{"spec.drain.timeoutSeconds": "0"}, "greater than or equal to 1"},

	// Service and pods.
	{mailRelay, edits{"spec.service.externalTrafficPolicy": "Local"}, "set service.type to LoadBalancer or NodePort"},
	{mailRelay, edits{"spec.service": "{type: ClusterIP, loadBalancerClass: a}"}, "loadBalancerClass is for a load balancer"},
	{mailRelay, edits{"spec.service": "{type: NodePort, sourceRanges: [10.0.0.0/8]}"}, "sourceRanges is for a load balancer"},
	{mailRelay, edits{"spec.service": "{type: LoadBalancer, sourceRanges: [everyone]}"}, "write 10.0.0.0/8 or fd00::/8"},
	{mailRelay, edits{"spec.pod.labels": "{postrider.dev/serving: 'true'}"}, "labels of postrider.dev/ and app.kubernetes.io/ are the operator's"},
	{mailRelay, edits{"spec.pod.labels": "{app.kubernetes.io/name: mine}"}, "choose other keys"},
	{mailRelay, edits{"spec.pod.annotations": "{postrider.dev/applied: x}"}, "annotations of postrider.dev/ are the operator's"},
	{mailRelay, edits{"spec.replicas": "0"}, "greater than or equal to 1"},
	{mailRelay, edits{"spec.replicas": "101"}, "less than or equal to 100"},

	// Queue.
	{mailRelay, edits{"spec.queue": ""}, "spec.queue: Required"},
	{mailRelay, edits{"spec.queue.storage": ""}, "spec.queue.storage: Required"},
	{mailRelay, edits{"spec.queue.storage.size": ""}, "spec.queue.storage.size: Required"},
	{mailRelay, edits{"spec.queue.storage.size": "1023Mi"}, "set at least 1Gi"},
	{mailRelay, edits{"spec.queue.storage.size": "-1Gi"}, "set at least 1Gi"},
	{mailRelay, edits{"spec.queue.retry": "{initialSeconds: 60, maxSeconds: 30}"}, "initialSeconds is more than maxSeconds"},
	{mailRelay, edits{"spec.queue.maxMessageAgeSeconds": "600"}, "set delayWarningSeconds below maxMessageAgeSeconds"},
	{mailRelay, edits{"spec.queue.maxMessageBytes": "1"}, "greater than or equal to 65536"},
	{mailRelay, edits{"spec.queue.bareNewline": "Accept"}, `supported values: "Reject", "Normalize"`},

	// Routes.
	{mailRelay, edits{"spec.routes": "[{name: a}]"}, "exactly one of smartHosts, lmtp, backup and mx"},
	{mailRelay, edits{"spec.routes": smartHost, "spec.routes.0.mx": "{}"}, "exactly one of smartHosts, lmtp, backup and mx"},
	{mailRelay, edits{"spec.routes": twoRoutes, "spec.routes.1.name": "a"}, "two routes have the same name"},
	{mailRelay, edits{"spec.routes": twoRoutes, "spec.routes.1.name": `"*"`}, "must be lower case letters, digits and hyphens"},
	{mailRelay, edits{"spec.routes": list(33, func(i int) string { return fmt.Sprintf("{name: r%d, mx: {}}", i) })}, "must have at most 32 items"},
	{mailRelay, edits{"spec.routes": twoRoutes, "spec.routes.0.match.recipientDomains": list(129, func(i int) string { return fmt.Sprintf("d%d.example", i) })}, "must have at most 128 items"},
	{mailRelay, edits{"spec.routes": twoRoutes, "spec.routes.0.match.senderDomains": "['*.example']"}, "must be a domain name"},
	{mailRelay, edits{"spec.routes": twoRoutes, "spec.routes.0.mx.allowCIDRs": "[private]"}, "must be a range of addresses"},
	{mailRelay, edits{"spec.routes": smartHost, "spec.routes.0.smartHosts.0.host": `"smtp.example.net\r\n"`}, "must be a host name in lower case"},
	{mailRelay, edits{"spec.routes": smartHost, "spec.routes.0.smartHosts.0.host": "'[2001:db8::1]'"}, "IP address without brackets"},
	{mailRelay, edits{"spec.routes": smartHost, "spec.routes.0.smartHosts.0.port": ""}, "smartHosts[0].port: Required"},
	{mailRelay, edits{"spec.routes": "[{name: a, smartHosts: [{host: h, port: 25}, {host: h, port: 25}]}]"}, "list each host and port once"},
	{mailRelay, edits{"spec.routes": smartHost, "spec.routes.0.smartHosts.0.tls": "Opportunistic", "spec.routes.0.smartHosts.0.secretRef.name": "up"}, "a password is sent only over verified TLS"},
	{mailRelay, edits{"spec.routes": smartHost, "spec.routes.0.smartHosts.0.tls": "None", "spec.routes.0.smartHosts.0.caSecretRef.name": "ca"}, "only tls Required verifies the host"},
	{mailRelay, edits{"spec.routes": mailboxes, "spec.routes.0.backup": "{primary: {host: mx}}"}, "exactly one of smartHosts, lmtp, backup and mx"},
	{mailRelay, edits{"spec.routes": mailboxes, "spec.routes.0.match": ""}, "list them in match.recipientDomains"},
	{mailRelay, edits{"spec.routes": mailboxes, "spec.routes.0.match": "{recipientDomains: []}"}, "list them in match.recipientDomains"},
	{mailRelay, edits{"spec.routes": mailboxes, "spec.routes.0.lmtp.host": "/run/dovecot/lmtp"}, "must be a host name in lower case"},
	{mailRelay, edits{"spec.routes": mailboxes, "spec.routes.0.lmtp.port": "65536"}, "less than or equal to 65535"},
	{mailRelay, edits{"spec.routes": backupMX, "spec.routes.0.match": "{senderDomains: [example.com]}"}, "list them in match.recipientDomains"},
	{mailRelay, edits{"spec.routes": backupMX, "spec.routes.0.backup.primary": ""}, "backup.primary: Required"},
	{mailRelay, edits{"spec.routes": backupMX, "spec.routes.0.backup.primary.host": ""}, "backup.primary.host: Required"},
	{mailRelay, edits{"spec.routes": backupMX, "spec.routes.0.backup.probeSeconds": "0"}, "greater than or equal to 1"},
	{mailRelay, edits{"spec.routes": twoRoutes, "spec.routes.0.verifyRecipients": "None"}, "remove verifyRecipients"},
	{mailRelay, edits{"spec.routes": mailboxes, "spec.routes.0.verifyRecipients": "Guess"}, `supported values: "Probe", "None"`},
	{mailRelay, edits{"spec.routes": oauth2Host, "spec.routes.0.smartHosts.0.secretRef": ""}, "oauth2 needs secretRef"},
	{mailRelay, edits{"spec.routes": oauth2Host, "spec.routes.0.smartHosts.0.tls": "None"}, "a password is sent only over verified TLS"},
	{mailRelay, edits{"spec.routes": oauth2Host, "spec.routes.0.smartHosts.0.oauth2.tokenURL": "http://login.example.net/token"}, "must be a URL such as https://login.example.com/token"},
	{mailRelay, edits{"spec.routes": oauth2Host, "spec.routes.0.smartHosts.0.oauth2.tokenURL": "https://user@login.example.net/token"}, "must be a URL such as https://login.example.com/token"},
	{mailRelay, edits{"spec.routes": oauth2Host, "spec.routes.0.smartHosts.0.oauth2.scopes": "[a b]"}, "list several one by one"},
	{mailRelay, edits{"spec.routes": oauth2Host, "spec.routes.0.smartHosts.0.oauth2.scopes": list(9, func(i int) string { return fmt.Sprint("s", i) })}, "must have at most 8 items"},

	// Filters and events.
	{mailRelay, edits{"spec.filters": "[{name: a}]"}, "exactly one of dnsbl, rspamd and milter"},
	{mailRelay, edits{"spec.filters": virusCheck, "spec.filters.0.dnsbl": "{zones: [zen.example.org]}"}, "exactly one of dnsbl, rspamd and milter"},
	{mailRelay, edits{"spec.filters": "[{name: a, milter: {host: h, port: 1}}, {name: a, milter: {host: h, port: 2}}]"}, "two filters have the same name"},
	{mailRelay, edits{"spec.filters": list(9, func(i int) string { return fmt.Sprintf("{name: f%d, milter: {host: h, port: 1}}", i) })}, "must have at most 8 items"},
	{mailRelay, edits{"spec.filters": virusCheck, "spec.filters.0.name": "a/b"}, "must be lower case letters, digits and hyphens"},
	{mailRelay, edits{"spec.filters": virusCheck, "spec.filters.0.milter.port": ""}, "milter.port: Required"},
	{mailRelay, edits{"spec.filters": virusCheck, "spec.filters.0.milter.host": "unix:/run/clamav.sock"}, "must be a host name in lower case"},
	{mailRelay, edits{"spec.filters": virusCheck, "spec.filters.0.timeoutSeconds": "61"}, "less than or equal to 60"},
	{mailRelay, edits{"spec.filters": virusCheck, "spec.filters.0.timeoutSeconds": "0"}, "greater than or equal to 1"},
	{mailRelay, edits{"spec.filters": virusCheck, "spec.filters.0.onFailure": "Reject"}, `supported values: "Accept", "Defer"`},
	{mailRelay, edits{"spec.filters": blockList, "spec.filters.0.dnsbl.zones": "[]"}, "should have at least 1 items"},
	{mailRelay, edits{"spec.filters": blockList, "spec.filters.0.dnsbl.zones": `["zen.example.org."]`}, "must be a domain name"},
	{mailRelay, edits{"spec.filters": blockList, "spec.filters.0.dnsbl.zones": list(9, func(i int) string { return fmt.Sprintf("z%d.example", i) })}, "must have at most 8 items"},
	{mailRelay, edits{"spec.filters": blockList, "spec.filters.0.dnsbl.action": "Drop"}, `supported values: "Reject", "Report"`},
	{mailRelay, edits{"spec.filters": spamFilter, "spec.filters.0.rspamd.url": "rspamd.mail.svc:11333"}, "must be a URL such as http://service.mail.svc:8080/path"},
	{mailRelay, edits{"spec.filters": spamFilter, "spec.filters.0.rspamd.url": "file:///etc/passwd"}, "must be a URL such as http://service.mail.svc:8080/path"},
	{mailRelay, edits{"spec.filters": spamFilter, "spec.filters.0.rspamd.url": `"http://rspamd\r\nX: y"`}, "must be a URL such as http://service.mail.svc:8080/path"},
	{mailRelay, edits{"spec.filters": spamFilter, "spec.filters.0.rspamd.url": "http://rspamd.mail.svc:70000000"}, "must be a URL such as http://service.mail.svc:8080/path"},
	{mailRelay, edits{"spec.filters": spamFilter, "spec.filters.0.rspamd.secretRef": "{name: s, namespace: other}"}, `unknown field "spec.filters[0].rspamd.secretRef.namespace"`},
	{mailRelay, edits{"spec.events.webhooks": hook, "spec.events.webhooks.0.name": "CRM"}, "must be lower case letters, digits and hyphens"},
	{mailRelay, edits{"spec.events.webhooks": hook, "spec.events.webhooks.0.url": ""}, "webhooks[0].url: Required"},
	{mailRelay, edits{"spec.events.webhooks": hook, "spec.events.webhooks.0.url": `"https://hooks.example.com/'mail"`}, "must be a URL such as http://service.mail.svc:8080/path"},
	{mailRelay, edits{"spec.events.webhooks": hook, "spec.events.webhooks.0.url": "https://hooks.example.com/" + strings.Repeat("a", 1024)}, "Too long"},
	{mailRelay, edits{"spec.events.webhooks": hook, "spec.events.webhooks.0.types": "[Held]"}, `supported values: "Accepted", "Delivered", "Deferred", "Bounced", "Suppressed"`},
	{mailRelay, edits{"spec.events.webhooks": "[{name: a, url: 'https://a.example'}, {name: a, url: 'https://b.example'}]"}, "Duplicate value"},
	{mailRelay, edits{"spec.events.webhooks": list(9, func(i int) string { return fmt.Sprintf("{name: w%d, url: 'https://a.example'}", i) })}, "must have at most 8 items"},

	// Who may send through a relay.
	{mailRelay, edits{"spec.allowedDomains.namespaces": "{from: Selector}"}, "from Selector and selector belong together"},
	{mailRelay, edits{"spec.allowedDomains.namespaces": "{from: All, selector: {}}"}, "from Selector and selector belong together"},
	{mailRelay, edits{"spec.allowedDomains.namespaces.from": "Some"}, `supported values: "Same", "Selector", "All"`},
	{mailRelay, edits{"spec.allowedDomains.suffixes": "[.example.com]"}, "must be a domain name"},

	// Egress and DNS.
	{mailRelay, edits{"spec.egress.addresses": "[mx1.example.com]"}, "must be an IP address"},
	{mailRelay, edits{"spec.egress.addresses": "[203.0.113.0/24]"}, "must be an IP address"},
	{mailRelay, edits{"spec.dns.resolvers": "[192.0.2.53]"}, "address and port of a DNS server"},
	{mailRelay, edits{"spec.dns.resolvers": "['dns.example.com:53']"}, "address and port of a DNS server"},
	{mailRelay, edits{"spec.dns.resolvers": "['300.1.1.1:99999']"}, "address and port of a DNS server"},

	// SendingDomains.
	{sendingDomain, edits{"spec.relayRef": ""}, "spec.relayRef: Required"},
	{sendingDomain, edits{"spec.relayRef.name": "../outbound"}, "must be the name of an object"},
	{sendingDomain, edits{"spec.relayRef": "{name: outbound, namespace: other/x}"}, "must be the name of a namespace"},
	{sendingDomain, edits{"spec.senders": "[{user: a}, {user: a}]"}, "a sender stands there twice"},
	{sendingDomain, edits{"spec.senders": "[{serviceAccount: {name: a}}, {user: b}, {serviceAccount: {name: a}}]"}, "a sender stands there twice"},
	{sendingDomain, edits{"spec.senders": "[{}]"}, "give one of user and serviceAccount"},
	{sendingDomain, edits{"spec.senders": "[{user: a, serviceAccount: {name: a}}]"}, "give one of user and serviceAccount"},
	{sendingDomain, edits{"spec.senders": "[{serviceAccount: {}}]"}, "senders[0].serviceAccount.name: Required"},
	{sendingDomain, edits{"spec.senders": "[{serviceAccount: {name: A}}]"}, "must be the name of an object"},
	{sendingDomain, edits{"spec.senders": `[{serviceAccount: {name: "a:b"}}]`}, "must be the name of an object"},
	{sendingDomain, edits{"spec.senders": `[{serviceAccount: {namespace: "shop:x", name: a}}]`}, "must be the name of a namespace"},
	{sendingDomain, edits{"spec.senders": `[{user: "a:b"}]`}, "must be the name of a user in a users Secret"},
	{sendingDomain, edits{"spec.senders": list(257, func(i int) string { return fmt.Sprintf("{user: u%d}", i) })}, "must have at most 256 items"},
	{sendingDomain, edits{"spec.dkim.algorithms": "[]"}, "should have at least 1 items"},
	{sendingDomain, edits{"spec.dkim.algorithms": "[RSA1024]"}, `supported values: "RSA2048", "Ed25519"`},
	{sendingDomain, edits{"spec.dns.gates": "[SPF]"}, `supported values: "DKIM"`},
	{sendingDomain, edits{"spec.dns.recheckSeconds": "1"}, "greater than or equal to 60"},
	{sendingDomain, edits{"spec.suppression": "{}"}, "suppression.action: Required"},
	{sendingDomain, edits{"spec.suppression": "{action: Bounce}"}, `supported values: "Reject", "Drop"`},
	{sendingDomain, edits{"spec.suppression": "{action: Drop, seconds: 0}"}, "greater than or equal to 60"},

	// RateLimitPolicies.
	{rateLimitPolicy, edits{"spec.targetRefs": "[]"}, "should have at least 1 items"},
	{rateLimitPolicy, edits{"spec.targetRefs": list(17, func(i int) string { return fmt.Sprintf("{kind: MailRelay, name: r%d}", i) })}, "must have at most 16 items"},
	{rateLimitPolicy, edits{"spec.targetRefs": "[{kind: MailRelay, name: a}, {kind: MailRelay, name: a}]"}, "a target stands there twice"},
	{rateLimitPolicy, edits{"spec.targetRefs": "[{kind: Service, name: a}]"}, `supported values: "MailRelay", "SendingDomain"`},
	{rateLimitPolicy, edits{"spec.key": "Sender"}, "stage Delivery counts per Site or SenderDomain"},
	{rateLimitPolicy, edits{"spec.stage": "Accept"}, "stage Accept counts per Sender"},
	{rateLimitPolicy, edits{"spec.stage": "Accept", "spec.key": "Sender", "spec.limits.maxConnections": "1"}, "maxConnections limits connections to receivers"},
	{rateLimitPolicy, edits{"spec.stage": "Accept", "spec.key": "Sender", "spec.match.destinationDomains": "[gmail.com]"}, "destinationDomains needs stage Delivery"},
	{rateLimitPolicy, edits{"spec.stage": "Accept", "spec.key": "Sender", "spec.match.mxSuffixes": "[google.com]"}, "mxSuffixes needs stage Delivery"},
	{rateLimitPolicy, edits{"spec.match.mxSuffixes": "[.google.com]"}, "must be a domain name"},
	{sendingDomain, edits{"spec.weight": "101"}, "less than or equal to 100"},
	{sendingDomain, edits{"spec.weight": "-1"}, "greater than or equal to 1"},
	{sendingDomain, edits{"spec.priorities": "[{header: Precedence, priority: 10}]"}, "less than or equal to 9"},
	{sendingDomain, edits{"spec.priorities": "[{header: Precedence}]"}, "priority: Required"},
	{sendingDomain, edits{"spec.priorities": "[{header: \"a:b\", priority: 1}]"}, "should match"},
	{sendingDomain, edits{"spec.priorities": "[{header: x, values: [\"\"], priority: 1}]"}, "at least 1 chars"},
	{rateLimitPolicy, edits{"spec.limits": "{perSeconds: 5}"}, "nothing is limited"},
	{rateLimitPolicy, edits{"spec.limits": "{}"}, "should have at least 1 properties"},
	{rateLimitPolicy, edits{"spec.limits": "{messages: 5}"}, "messages and perSeconds belong together"},
	{rateLimitPolicy, edits{"spec.limits": "{perSeconds: 5, maxConnections: 1}"}, "messages and perSeconds belong together"},
	{rateLimitPolicy, edits{"spec.limits": "{burst: 5, maxConnections: 1}"}, "burst needs messages and perSeconds"},
	{rateLimitPolicy, edits{"spec.limits": "{messages: 0, perSeconds: 60}"}, "greater than or equal to 1"},
	{rateLimitPolicy, edits{"spec.stage": "Accept", "spec.key": "Sender", "spec.limits.recipientsPerMessage": "5"}, "recipientsPerMessage and messagesPerConnection shape what goes to receivers"},
	{rateLimitPolicy, edits{"spec.stage": "Accept", "spec.key": "Sender", "spec.limits.messagesPerConnection": "5"}, "recipientsPerMessage and messagesPerConnection shape what goes to receivers"},
	{rateLimitPolicy, edits{"spec.limits": "{recipientsPerMessage: 1001}"}, "less than or equal to 1000"},
	{rateLimitPolicy, edits{"spec.limits": "{messagesPerConnection: 0}"}, "greater than or equal to 1"},
	{rateLimitPolicy, edits{"spec.scope": "Cluster"}, `supported values: "Pod", "Relay"`},
	{mailRelay, edits{"spec.telemetry": "{traces: {endpoint: 'http://otel.test:4318?x=1'}}"}, "must have no query"},
}

func TestRefused(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.want, func(t *testing.T) {
			err := server.Create(t.Context(), parse(t, r.base, r.edits), client.DryRunAll, client.FieldValidation("Strict"))
			wantRefusal(t, err, r.want)
		})
	}
}

// changes are refused because of what the object was.
var changes = []struct {
	base          string
	before, after edits
	want          string
}{
	{sendingDomain, nil, edits{"spec.domain": "other.example"}, "make another SendingDomain for the other domain"},
	{mailRelay, nil, edits{"spec.queue.storage.size": "512Mi"}, "a volume cannot shrink"},
	{mailRelay, nil, edits{"spec.queue.storage.storageClassName": "fast"}, "storage class of a volume cannot change"},
	{mailRelay, edits{"spec.queue.storage.storageClassName": "fast"}, edits{"spec.queue.storage.storageClassName": ""}, "storage class of a volume cannot change"},
	{mailRelay, edits{"spec.queue.storage.storageClassName": "fast"}, edits{"spec.queue.storage.storageClassName": "slow"}, "storage class of a volume cannot change"},
}

func TestChangeRefused(t *testing.T) {
	for i, c := range changes {
		t.Run(c.want, func(t *testing.T) {
			object := parse(t, c.base, c.before)
			object.SetName(fmt.Sprintf("change-%d", i))
			if err := server.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			changed := parse(t, c.base, c.after)
			changed.SetName(object.GetName())
			changed.SetResourceVersion(object.GetResourceVersion())
			wantRefusal(t, server.Update(t.Context(), changed), c.want)
		})
	}
}

func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("the server takes it")
	}
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant: %s", err, want)
	}
}

// Every rule is shown to refuse something, by the table above.
func TestEveryRuleIsTried(t *testing.T) {
	tried := map[string]bool{}
	for _, r := range refusals {
		tried[r.want] = true
	}
	for _, c := range changes {
		tried[c.want] = true
	}
	for _, message := range messages(t) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(tried)), func(part string) bool { return strings.Contains(message, part) }) {
			t.Errorf("no test tries the rule with the message %q", message)
		}
	}
}

// messages are those of all rules, each once.
func messages(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	for _, definition := range definitions(t) {
		for _, v := range definition.Spec.Versions {
			walk(v.Schema.OpenAPIV3Schema, func(s *apiextensionsv1.JSONSchemaProps) {
				for _, rule := range s.XValidations {
					if rule.Message == "" {
						t.Errorf("the rule %s has no message", rule.Rule)
					}
					found[rule.Message] = true
				}
			})
		}
	}
	if len(found) < 30 {
		t.Fatalf("only %d rules found", len(found))
	}
	return slices.Sorted(maps.Keys(found))
}

func definitions(t *testing.T) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	names, err := fs.Glob(crd.Bases, "bases/*.yaml")
	if err != nil || len(names) != 3 {
		t.Fatalf("definitions %v, error %v", names, err)
	}
	var list []*apiextensionsv1.CustomResourceDefinition
	for _, name := range names {
		data, err := crd.Bases.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(data, d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, d)
	}
	return list
}

// walk visits a schema and all within it.
func walk(s *apiextensionsv1.JSONSchemaProps, visit func(*apiextensionsv1.JSONSchemaProps)) {
	visit(s)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		walk(&property, visit)
	}
	if s.Items != nil {
		walk(s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		walk(s.AdditionalProperties.Schema, visit)
	}
}

// No field by which a Secret is named names a namespace, too: whoever may write a resource learns nothing of the Secrets
// of others.
func TestNoSecretElsewhere(t *testing.T) {
	references := 0
	for _, definition := range definitions(t) {
		for _, v := range definition.Spec.Versions {
			walk(v.Schema.OpenAPIV3Schema, func(s *apiextensionsv1.JSONSchemaProps) {
				for name, field := range s.Properties {
					if !strings.HasSuffix(strings.ToLower(name), "secretref") && name != "imagePullSecrets" {
						continue
					}
					if field.Items != nil {
						field = *field.Items.Schema
					}
					references++
					if keys := slices.Sorted(maps.Keys(field.Properties)); !slices.Equal(keys, []string{"name"}) {
						t.Errorf("%s %s has the fields %q", definition.Spec.Names.Kind, name, keys)
					}
				}
			})
		}
	}
	if references < 6 {
		t.Errorf("only %d references found: the test would prove nothing", references)
	}
}
