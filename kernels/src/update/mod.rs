//! Optimizer updates: one fused pass over flat buffers each, one folder each.
