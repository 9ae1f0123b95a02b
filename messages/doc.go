// Package messages is what can be said in this house: commands, events, queries and views as protobuf, the ids and units
// they carry, the one error type that crosses borders, and the doors through which actors and the gateway are reached.
//
// It imports nothing of ours. Events are on disk for ever: see events.go for their names and versions.
package messages

//go:generate go tool -modfile=../.ci/tools/go.mod buf generate
