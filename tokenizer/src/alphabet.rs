//! The byte alphabet of GPT-2: every byte written as one printable character, so that vocabulary files stay text.
//!
//! Bytes that print keep their code point; the other 68, in increasing order, become U+0100, U+0101, ... (a space is
//! U+0120). Used only where files are read and written: everything else works on bytes.
//! Source: openai/gpt-2, src/encoder.py. Next: `bpe`.

use std::sync::LazyLock;

/// Character of each byte.
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut chars = ['\0'; 256];
    let mut next = 0x100_u32;
    for byte in 0..=255_u8 {
        chars[byte as usize] = if matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) {
            char::from(byte)
        } else {
            let mapped = char::from_u32(next).expect("U+0100 to U+0143 are characters");
            next += 1;
            mapped
        };
    }
    chars
});

/// The character that stands for `byte`.
pub(crate) fn char_of(byte: u8) -> char {
    CHARS[byte as usize]
}

/// The byte that `c` stands for; `None` outside the alphabet.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        // The 68 bytes that do not print: 0x00-0x20, 0x7F-0xA0, 0xAD.
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121) as u8 + 0x7F),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// `bytes` as a token string of a vocabulary file.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char_of(byte)).collect()
}

/// The bytes of a token string; `None` if a character is outside the alphabet.
pub(crate) fn to_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(byte_of).collect()
}

/// All bytes, in the order of their characters: the order in which the Hugging Face trainer numbers the alphabet.
pub(crate) fn bytes_by_char() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.sort_by_key(|&byte| char_of(byte));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_bijection_on_all_bytes() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255 {
            let c = char_of(byte);
            assert!(seen.insert(c), "{c:?} stands for two bytes");
            assert_eq!(byte_of(c), Some(byte));
        }
        let inside = (0..=0x10FFFF)
            .filter_map(char::from_u32)
            .filter(|&c| byte_of(c).is_some());
        assert_eq!(inside.count(), 256);
    }

    #[test]
    fn maps_space_and_newline_as_gpt2_does() {
        assert_eq!(to_text(b" \n"), "\u{120}\u{10A}");
        assert_eq!(to_bytes("\u{120}a"), Some(b" a".to_vec()));
        assert_eq!(to_bytes("\u{4E2D}"), None);
    }
}
