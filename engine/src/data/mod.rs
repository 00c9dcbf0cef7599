//! Data: sources, packing, loading.
pub mod storybook;
