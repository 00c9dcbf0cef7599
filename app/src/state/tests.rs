//! Folding of events.
