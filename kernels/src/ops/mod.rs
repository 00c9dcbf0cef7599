//! The operations, one folder each. A new one is a folder and a line of [`OPS`].
