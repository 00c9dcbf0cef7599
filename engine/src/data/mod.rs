//! Data: sources, packing, loading.
