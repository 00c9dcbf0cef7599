//! The order of rows: as they stand, or a new permutation each epoch that needs no memory.

use kernels::philox::philox;

/// Image of `index` under the permutation of `0..len` that belongs to `seed` and `epoch`.
///
/// A Feistel network of four rounds permutes the numbers of `2b` bits, the smallest such range that holds `len`; what falls
/// outside is permuted again until it falls inside (cycle walking). The round function is Philox. Any index is reached in
/// constant time, so that training resumes at any row. Source: Black and Rogaway, "Ciphers with arbitrary finite domains",
/// CT-RSA 2002.
pub(super) fn permute(index: u64, len: u64, seed: u64, epoch: u64) -> u64 {
    debug_assert!(index < len);
    let bits = 64 - (len - 1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut x = index;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..4 {
            let key = [seed as u32, (seed >> 32) as u32];
            let counter = [
                right as u32,
                epoch as u32,
                (epoch >> 32) as u32,
                ROWS | round,
            ];
            (left, right) = (right, (left ^ u64::from(philox(key, counter)[0])) & mask);
        }
        x = left << half | right;
        if x < len {
            return x;
        }
    }
}

/// Sets these random numbers apart from others under the same seed.
const ROWS: u32 = 0x524F_5700;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_every_row_once_in_an_order_of_its_own() {
        for len in [1, 2, 3, 5, 64, 1000, 4097] {
            for epoch in 0..3 {
                let order: Vec<_> = (0..len).map(|i| permute(i, len, 7, epoch)).collect();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..len).collect::<Vec<_>>());
                if len >= 64 {
                    let kept = (0..len).filter(|i| order[*i as usize] == *i).count();
                    assert!(kept < 10, "{kept} of {len} in place");
                    let next: Vec<_> = (0..len).map(|i| permute(i, len, 7, epoch + 1)).collect();
                    let other: Vec<_> = (0..len).map(|i| permute(i, len, 8, epoch)).collect();
                    assert!(order != next && order != other);
                }
            }
        }
    }

    #[test]
    fn neighbours_are_torn_apart() {
        let len = 10_000;
        let order: Vec<_> = (0..len).map(|i| permute(i, len, 1, 0) as f64).collect();
        let mean = (len - 1) as f64 / 2.0;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for pair in order.windows(2) {
            covariance += (pair[0] - mean) * (pair[1] - mean);
            variance += (pair[0] - mean).powi(2);
        }
        assert!(
            (covariance / variance).abs() < 0.05,
            "{}",
            covariance / variance
        );
    }
}
