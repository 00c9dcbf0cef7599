//! The operations, one folder each. A new one is a folder and a line of [`OPS`].

pub mod act;
pub mod activation;
pub mod activation_linear;
pub mod add;
pub mod add_norm;
pub mod attention;
pub mod attention_cached;
pub mod classifier;
pub mod dropout;
pub mod embedding;
pub mod gated;
pub mod head_norm;
pub mod layernorm;
pub mod linear;
pub mod linear_rope;
pub mod rmsnorm;
pub mod rope;
pub mod sinusoid;
#[cfg(test)]
pub(crate) mod torch_fixture;

use crate::check::Case;

/// An operation as indexes, tests and `zerollm doctor` know it.
#[derive(Debug)]
pub struct Entry {
    /// The field's name.
    pub name: &'static str,
    /// Its formula, in one line.
    pub formula: &'static str,
    /// Shapes and values that the generic checks try it on.
    pub cases: fn() -> Vec<Case>,
}

/// All operations.
pub static OPS: &[&Entry] = &[
    &activation::ENTRY,
    &activation_linear::ENTRY,
    &add::ENTRY,
    &add_norm::ENTRY,
    &attention::ENTRY,
    &classifier::ENTRY,
    &dropout::ENTRY,
    &embedding::ENTRY,
    &gated::ENTRY,
    &linear::ENTRY,
    &linear_rope::ENTRY,
    &head_norm::ENTRY,
    &layernorm::ENTRY,
    &rmsnorm::ENTRY,
    &rope::ENTRY,
    &sinusoid::ENTRY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_a_formula_and_cases() {
        for op in OPS {
            assert!(!op.formula.is_empty(), "{}", op.name);
            let cases = (op.cases)();
            assert!(!cases.is_empty(), "{}", op.name);
            assert!(
                cases.iter().all(|case| case.op.name().starts_with(op.name)),
                "{}",
                op.name
            );
        }
        let mut names: Vec<_> = OPS.iter().map(|op| op.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPS.len(), "two operations share a name");
    }
}
