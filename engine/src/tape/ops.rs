//! One line for each operation that models record.
