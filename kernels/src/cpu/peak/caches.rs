//! Sizes of the caches, as the system tells them.

use std::path::Path;

/// Sizes in bytes: of one core's first and second level, and of the third level that cores share (0: there is none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// First level, for data.
    pub l1: usize,
    /// Second level.
    pub l2: usize,
    /// Third level.
    pub l3: usize,
}

impl Caches {
    /// Where nobody says: what most processors of the last ten years have at least.
    const DEFAULT: Self = Self {
        l1: 32 << 10,
        l2: 512 << 10,
        l3: 8 << 20,
    };

    /// Those of the first processor.
    pub fn detect() -> Self {
        Self::read(Path::new("/sys/devices/system/cpu/cpu0/cache"))
    }

    /// From a folder `index0`, `index1`, ..., each with the files `level`, `type` and `size`. A level that is not listed
    /// where others are does not exist, but for the first two, which always do.
    fn read(folder: &Path) -> Self {
        let mut found = [None; 3];
        for index in 0..8 {
            let text = |name: &str| {
                std::fs::read_to_string(folder.join(format!("index{index}")).join(name))
            };
            let (Ok(level), Ok(kind), Ok(size)) = (text("level"), text("type"), text("size"))
            else {
                continue;
            };
            let level = level.trim().parse::<usize>().unwrap_or(0);
            if kind.trim() != "Instruction"
                && let Some(place) = level.checked_sub(1).and_then(|at| found.get_mut(at))
            {
                *place = bytes(size.trim());
            }
        }
        if found == [None; 3] {
            return Self::DEFAULT;
        }
        Self {
            l1: found[0].unwrap_or(Self::DEFAULT.l1),
            l2: found[1].unwrap_or(Self::DEFAULT.l2),
            l3: found[2].unwrap_or(0),
        }
    }
}

/// A size such as `48K`.
fn bytes(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: usize = digits.parse().ok()?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let texts = ["48K", "2M", "1G", "512", "0K", "", "xK", "K"];
        let sizes = texts.map(bytes);
        let some = [Some(48 << 10), Some(2 << 20), Some(1 << 30), Some(512)];
        assert_eq!(sizes[..4], some);
        assert_eq!(sizes[4..], [None; 4]);
    }

    #[test]
    fn folders_are_read_and_defaults_taken() {
        let folder = std::env::temp_dir().join(format!("zerollm-caches-{}", std::process::id()));
        assert_eq!(Caches::read(&folder), Caches::DEFAULT);
        let levels = [
            ("1", "Data", "48K"),
            ("1", "Instruction", "32K"),
            ("2", "Unified", "2048K"),
        ];
        for (index, (level, kind, size)) in levels.into_iter().enumerate() {
            let place = folder.join(format!("index{index}"));
            std::fs::create_dir_all(&place).unwrap();
            for (name, text) in [("level", level), ("type", kind), ("size", size)] {
                std::fs::write(place.join(name), format!("{text}\n")).unwrap();
            }
        }
        let read = Caches::read(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        let want = Caches {
            l1: 48 << 10,
            l2: 2 << 20,
            l3: 0,
        };
        assert_eq!(read, want);
    }
}
