// Package kinds is the registry of the kinds that keep a journal: one line a kind.
//
// Code that folds or shows actors of any kind (replay, time travel, explanations, the benchmark of a long journal) ranges over the registry
// instead of switching over kinds by hand, so a new kind is one line here. A kind is registered by its fold: New, Evolve, View and the
// fold's version. It has no ports, so folding a journal can touch nothing.
package kinds
