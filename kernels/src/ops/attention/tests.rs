use super::*;

#[test]
fn generic_checks() {
    for case in cases() {
        crate::check::all(&case, 5e-6, 2e-2);
    }
}
