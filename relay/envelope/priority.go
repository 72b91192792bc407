package envelope

// Priorities of mail (RFC 6710): 0 is that of mail that says nothing.
const (
	LowestPriority  = -9
	HighestPriority = 9
)

// Class is what the queue makes of a priority. A lower number goes first.
type Class uint8

const (
	Urgent Class = iota // a priority above 0
	Normal              // 0
	Bulk                // below 0
	// Classes is how many there are.
	Classes = 3
)

// ClassOf is the class of a priority.
func ClassOf(priority int) Class {
	switch {
	case priority > 0:
		return Urgent
	case priority < 0:
		return Bulk
	default:
		return Normal
	}
}

// String is the name that admins see.
func (c Class) String() string { return [...]string{"Urgent", "Normal", "Bulk"}[c] }
