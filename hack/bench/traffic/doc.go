// Package traffic is the mail of the bench and where it ends: Send generates a load, a Sink takes in what an engine
// delivers, and a Proxy puts a slow network between the two. Each costs less processor time per message than
// smtp-source and smtp-sink, for they share the machine with the engine that is measured.
//
// It refuses to judge: it counts and times, and what a figure means is the caller's matter. It is no client or server
// for real mail either: it retries nothing, and checks of a peer's SMTP only what tells one reply from another.
package traffic
