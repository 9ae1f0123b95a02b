// Package entitytest holds what the tests of all kinds share: a journal in memory, a clock, a bench that checks a kind's pure
// functions while it drives its machine, and scripts that tell a kind's stories in plain text.
//
// A script (testdata/<kind>/*.txt) is read line by line:
//
//	# a comment, or an empty line
//	given model.declared {"spec":{"name":"tiny"}}     an event that happened before the story
//	seeing DeclaredModels {"declared":[]}             what is observed from now on: Stamp.Readings of each command that follows
//	wait 2m                                           the clock moves; each "when" moves it by one second
//	when EnsureModel {"reason":"a test"}              a command
//	again                                             the same command once more
//	then                                              the result, indented: events or refusal, answer, whole state, owed keys
//
// What follows "then" is golden: `go test ./actors/... -update` rewrites it. Fields of the state that are zero aren't written.
// A line that can't be read fails the test.
package entitytest
