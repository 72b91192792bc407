package main

// method says what is compared, so that nobody has to guess. It goes into bin/bench.json.
const method = `Generator, sink, proxy and engines share one machine, over loopback. Every engine is started anew for each round with an
empty queue on the same disk, warmed up with a tenth of the load, and measured with the rest of it: random bodies, all mail
of a session over one connection, each command answered before the next is sent, no TLS unless the line says so. All three
sync a message to disk before its 250. All mail goes to one next hop, over at most 20 connections, which is what relay and
Postfix allow by themselves (50 where the line says so). The relay runs as the operator would have it: logs to a file, metrics,
journal and admin socket on. Postfix is Debian's with its defaults, without chroot; it gets a fifth of the messages (in latency a half), so
that its rounds take about as long. The floor program is go-smtp, a synced pebble write and a forwarder, nothing else; it forgets
its queue when it ends. Accepted: until the last 250. End to end: until the last message is in the sink. Held: the relay by
queue hold, Postfix by its hold queue, the floor program by having nobody forward. Processor time: of all processes of the engine, from
/proc. Deferred mail: refused with 451 at RCPT, and measured when
each message has been refused once, or after three minutes (which concerns Postfix). Fairness: each destination is a next hop of its own; probes are 4 KiB
messages, 100 each second over 10 sessions, timed from when they were due until the sink had them; one that did not come counts
as 30 s. Backlog: by MX, each domain with an MX of its own, next attempts four hours off, so that the queue lies still.`
