package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A host whose journal takes no decisions leaves the seat to another, and takes it again once decisions have been taken for a while.
func TestWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ill error
		looks := 0
		w := &writing{ill: func() error { looks++; return ill }}
		for range 40 {
			if w.not() {
				t.Fatal("it writes")
			}
			time.Sleep(50 * time.Millisecond)
		}
		if looks > 2 {
			t.Errorf("looked %d times in 2 s", looks)
		}
		ill = errors.New("the disk is full")
		time.Sleep(writingLooks)
		if !w.not() {
			t.Error("the disk is full")
		}
		ill = nil
		time.Sleep(writingAgain - time.Second)
		if !w.not() {
			t.Error("it may be full again in a moment")
		}
		time.Sleep(time.Second)
		if w.not() {
			t.Error("it has written for a while")
		}
	})
}
