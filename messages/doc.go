// Package messages is what can be said in this house: commands, events, queries and views as protobuf, the ids and units
// they carry, the one error type that crosses borders, and the doors through which actors and the gateway are reached.
//
// It imports nothing of ours. Events are on disk for ever: their names and versions are options in the proto files, and a test
// compares them, with all fields, to testdata/journal.lock (lock_test.go).
package messages

//go:generate go tool -modfile=../.ci/tools/go.mod buf generate
