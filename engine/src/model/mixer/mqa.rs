//! Multi-query attention.
//!
//! Multi-head attention in which all query heads share one key-value head.
//!
//! Source: Shazeer, "Fast transformer decoding: one write-head is all you need", arXiv:1911.02150.

use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "mqa",
    summary: "multi-query attention: one key-value head for all query heads",
    reference: "Shazeer, arXiv:1911.02150",
    keys: &[],
};
