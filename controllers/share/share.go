// Package share owns how a limit that holds for a whole relay is divided among its pods, and in which order shares may
// change: what pods may have in force together never exceeds the limit. It is pure: it knows neither pods nor clocks,
// only what it is told of them.
//
// A share shrinks at once, and counts in full until its pod has said that the smaller one is in force. A share grows
// only by what is free then. A pod that does not answer keeps what it had; one that is gone has nothing.
package share

import (
	"math"
	"slices"
)

// What a limit is made of.
const (
	Messages = iota
	Burst
	Connections
	kinds
)

// Amount is an amount of each, by Messages, Burst and Connections.
type Amount [kinds]int64

// Unlimited stands in an Amount for what has no limit.
const Unlimited = math.MaxInt32 + 1

// none is the Amount of a pod that the limit does not bind.
func none() Amount { return Amount{Unlimited, Unlimited, Unlimited} }

// Nothing says that a pod with this share lets nothing through: it lacks something that is limited.
func (a Amount) Nothing() bool { return slices.Contains(a[:], 0) }

// Sum adds up shares; what is not limited stays so.
func Sum(shares map[string]Amount) Amount {
	var sum Amount
	for _, a := range shares {
		for k := range a {
			sum[k] = min(sum[k]+a[k], Unlimited)
		}
	}
	return sum
}

// Divide is what each of so many pods gets of a limit in the end: an equal part, of the remainder one more for each of
// the first. A pod without a message, a burst or a connection could do nothing with the others, so where one of them is
// less than there are pods, the last pods get nothing and the first get it all.
func Divide(limit Amount, pods int) []Amount {
	with := int64(pods)
	for _, n := range limit {
		with = min(with, n)
	}
	shares := make([]Amount, pods)
	for i := range shares {
		for k, n := range limit {
			switch at := int64(i); {
			case n >= Unlimited:
				shares[i][k] = Unlimited
			case at < with:
				shares[i][k] = n / with
				if at < n%with {
					shares[i][k]++
				}
			}
		}
	}
	return shares
}

// Part is what is known of a pod's share.
type Part struct {
	// Told is the share in the newest configuration, Since the generation that first held it.
	Told  Amount `json:"told"`
	Since int64  `json:"since"`
	// Held is the most that the pod may have in force: at least Told.
	Held Amount `json:"held"`
}

// Book is the parts of a limit, by pod; nil for a limit that no configuration holds yet.
type Book map[string]Part

// Pod is a pod that is there, or shall be. One that is not mentioned is gone, and nothing of it runs any more.
type Pod struct {
	Name string
	// InForce is the generation whose shares the pod certainly keeps; 0 when that is not known.
	InForce int64
}

// Next is the book of the configuration that comes next, with this generation should it differ from the one before.
// Pods are in the order of their ordinals.
func (b Book) Next(limit Amount, pods []Pod, generation int64) Book {
	next := Book{}
	for _, p := range pods {
		next[p.Name] = b.confirmed(p)
	}
	plan := Divide(limit, len(pods))
	for i, p := range pods {
		next[p.Name] = next[p.Name].shrunk(plan[i])
	}
	for k := range limit {
		free := limit[k]
		for _, part := range next {
			free -= part.Held[k]
		}
		for i, p := range pods {
			next[p.Name], free = next[p.Name].grown(k, plan[i][k], free, limit[k])
		}
	}
	for name, part := range next {
		if part.Told = part.Told.whole(limit); part.Told != b[name].Told {
			part.Since = generation
		}
		next[name] = part
	}
	return next
}

// whole is a share with which something can be done, or nothing of what is limited.
func (a Amount) whole(limit Amount) Amount {
	if !a.Nothing() {
		return a
	}
	for k := range a {
		if limit[k] < Unlimited {
			a[k] = 0
		}
	}
	return a
}

// confirmed is a pod's part with what it says taken into account. Without a book nothing binds the pods yet; one that
// the book does not know has no share yet.
func (b Book) confirmed(p Pod) Part {
	if b == nil {
		return Part{Told: none(), Held: none()}
	}
	part := b[p.Name]
	if part.Since > 0 && p.InForce >= part.Since {
		part.Held = part.Told
	}
	return part
}

func (p Part) shrunk(to Amount) Part {
	for k := range to {
		p.Told[k] = min(p.Told[k], to[k])
	}
	return p
}

// grown lets one kind grow: up to what the pod may have in force anyway, and beyond that as far as the rest of the limit
// goes, which is returned.
func (p Part) grown(k int, to, free, limit int64) (Part, int64) {
	p.Told[k] = max(p.Told[k], min(to, p.Held[k]))
	more := to - p.Told[k]
	if limit < Unlimited {
		more = min(more, max(free, 0))
		free -= more
	}
	p.Told[k] += more
	p.Held[k] = max(p.Held[k], p.Told[k])
	return p, free
}

// Told is the share of each pod in the newest configuration.
func (b Book) Told() map[string]Amount {
	told := map[string]Amount{}
	for name, part := range b {
		told[name] = part.Told
	}
	return told
}

// Final says that every pod is told what it gets in the end.
func (b Book) Final(limit Amount, pods []Pod) bool {
	for i, planned := range Divide(limit, len(pods)) {
		if b[pods[i].Name].Told != planned {
			return false
		}
	}
	return true
}

// Without names the pods that get nothing of a limit however long it is there.
func Without(limit Amount, pods []Pod) []string {
	var names []string
	for i, a := range Divide(limit, len(pods)) {
		if a.Nothing() {
			names = append(names, pods[i].Name)
		}
	}
	return names
}
