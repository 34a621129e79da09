//go:build !linux && !darwin

package registry

// osWatcher cannot tell here: the sweep finds what ended.
type osWatcher struct{}

func (*osWatcher) start(*watcher)                        {}
func (*osWatcher) add(*watch, Process) (told, gone bool) { return false, false }
func (*osWatcher) remove(*watch)                         {}
func (*osWatcher) stop()                                 {}
