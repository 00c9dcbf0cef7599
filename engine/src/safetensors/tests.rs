use super::read::f16_to_f32;
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

/// Two tensors and a scalar, 3 * 8 + 2 * 2 + 4 bytes of data.
fn sample() -> Vec<u8> {
    let infos = [
        TensorInfo {
            name: "a".to_owned(),
            dtype: Dtype::F64,
            shape: vec![3, 1],
        },
        TensorInfo {
            name: "b.weight".to_owned(),
            dtype: Dtype::Bf16,
            shape: vec![2],
        },
        TensorInfo::f32("c", []),
    ];
    let values: [&[f32]; 3] = [&[1.0, -2.5, 1e-3], &[0.5, 3.0], &[7.25]];
    let mut bytes = Vec::new();
    let written = write(
        &mut bytes,
        &infos,
        &[("format", "pt")],
        &mut |index, out| encode(infos[index].dtype, values[index], out),
    )
    .unwrap();
    assert_eq!(written, bytes.len() as u64);
    bytes
}

fn open(bytes: &[u8]) -> Result<SafeTensors<Cursor<&[u8]>>, Error> {
    SafeTensors::new(Cursor::new(bytes), Path::new("x.safetensors"))
}

/// A file of a header as text and some data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn what_is_written_is_read() {
    let bytes = sample();
    let mut file = open(&bytes).unwrap();
    assert_eq!(file.metadata()["format"], "pt");
    let mut a = [0.0; 3];
    file.read_into("a", &mut a).unwrap();
    assert_eq!(a, [1.0, -2.5, 1e-3]);
    let mut b = [0.0; 2];
    file.read_into("b.weight", &mut b).unwrap();
    assert_eq!(b, [0.5, 3.0]);
    let mut c = [0.0];
    file.read_into("c", &mut c).unwrap();
    assert_eq!(c, [7.25]);
    assert_eq!(file.entry("a").unwrap().info.shape, [3, 1]);
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(header % 8, 0);
    assert!(
        bytes[8..].starts_with(br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F64","shape":[3,1],"data_offsets":[0,24]},"#)
    );
}

#[test]
fn half_precision_is_exact() {
    for (half, value) in [
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x0400, 2f32.powi(-14)),
        (0x0001, 2f32.powi(-24)),
        (0x83ff, -1023.0 * 2f32.powi(-24)),
        (0x3555, 0.333_251_95),
        (0x7c00, f32::INFINITY),
        (0xfc00, f32::NEG_INFINITY),
    ] {
        assert_eq!(f16_to_f32(half), value, "{half:#x}");
    }
    assert!(f16_to_f32(0x7e00).is_nan());
    assert_eq!(f16_to_f32(0x8000).to_bits(), (-0.0f32).to_bits());
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    for length in 0..bytes.len() {
        assert!(open(&bytes[..length]).is_err(), "length {length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    let error = open(&longer).unwrap_err().to_string();
    assert!(error.contains("1 bytes at its end"), "{error}");
}

#[test]
fn hostile_headers_are_named_errors() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let cases: Vec<(String, usize, &str)> = vec![
        (entry("F32", "[2]", "[0,8]"), 7, "1 bytes behind the end"),
        (entry("F32", "[2]", "[0,4]"), 4, "do not hold the 8 bytes"),
        (entry("F32", "[2]", "[8,0]"), 8, "do not hold the 8 bytes"),
        (entry("F32", "[2]", "[4,12]"), 12, "a hole of 4 bytes"),
        (entry("F99", "[2]", "[0,8]"), 8, "unknown type \"F99\""),
        (entry("F32", "[-2]", "[0,8]"), 8, "not valid JSON"),
        (entry("F32", "[2.0]", "[0,8]"), 8, "not valid JSON"),
        (entry("F32", "2", "[0,8]"), 8, "not valid JSON"),
        (entry("F32", "[2]", "[0]"), 8, "not valid JSON"),
        (entry("F32", "[2]", "[0,8,9]"), 8, "not valid JSON"),
        (
            entry("F32", "[4294967296,4294967296,16]", "[0,8]"),
            8,
            "overflows",
        ),
        (
            entry("F64", "[4611686018427387904]", "[0,8]"),
            8,
            "overflows",
        ),
        (
            entry("F32", &format!("[{}1]", "1,".repeat(40)), "[0,4]"),
            4,
            "too many dimensions",
        ),
        (
            r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.to_owned(),
            8,
            "tensor w: occurs twice",
        ),
        (
            r#"{"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#.to_owned(),
            12,
            "tensor w: overlaps",
        ),
        (
            r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"code":"x"}}"#.to_owned(),
            4,
            "unknown field",
        ),
        (
            r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(),
            0,
            "occurs twice",
        ),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), 0, "not valid JSON"),
        ("[]".to_owned(), 0, "not valid JSON"),
        ("{".repeat(100_000), 0, "not valid JSON"),
        ("[".repeat(100_000), 0, "not valid JSON"),
        (String::new(), 0, "not valid JSON"),
    ];
    for (header, data, expected) in cases {
        let error = open(&file(&header, data)).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.starts_with("x.safetensors: "),
            "{error}\nexpected {expected}"
        );
        assert!(!error.contains('\n') && error.len() < 400, "{error}");
    }
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend([b' '; 16]);
    assert!(open(&huge).unwrap_err().to_string().contains("claims"));
    huge[..8].copy_from_slice(&(MAX_HEADER - 1).to_le_bytes());
    assert!(open(&huge).unwrap_err().to_string().contains("truncated"));
    let escape = r#"{"\u001b[2J":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#;
    let error = open(&file(escape, 4)).unwrap_err().to_string();
    assert!(error.contains(r"\u{1b}[2J"), "{error}");
}

#[test]
fn empty_tensors_and_trailing_spaces_are_valid() {
    let header = r#"{"e":{"dtype":"F32","shape":[0,5],"data_offsets":[4,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   "#;
    let bytes = file(header, 4);
    let mut file = open(&bytes).unwrap();
    file.read_into("e", &mut []).unwrap();
    assert_eq!(file.entries().len(), 2);
}

#[test]
fn wrong_requests_are_errors() {
    let header = r#"{"i":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#;
    let bytes = file(header, 16);
    let mut file = open(&bytes).unwrap();
    let error = |result: Result<(), Error>| result.unwrap_err().to_string();
    assert!(error(file.read_into("i", &mut [0.0; 2])).contains("type I64"));
    assert!(error(file.read_into("i", &mut [0.0; 3])).contains("has shape [2]"));
    assert!(error(file.read_into("j", &mut [0.0; 3])).contains("tensor j: is not in the file"));
}

/// A small generator, so that a failing case can be repeated.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Opens and, where it opens, reads everything: neither may panic.
fn read_all(bytes: &[u8]) -> bool {
    let Ok(mut file) = open(bytes) else {
        return false;
    };
    let infos: Vec<TensorInfo> = file
        .entries()
        .iter()
        .map(|entry| entry.info.clone())
        .collect();
    for info in infos {
        let elements = info.elements().unwrap() as usize;
        assert!(elements <= bytes.len(), "a tensor larger than its file");
        drop(file.read_into(&info.name, &mut vec![0.0; elements]));
    }
    true
}

#[test]
fn mutated_files_never_panic() {
    let good = sample();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let mut opened = 0;
    for at in 0..header {
        for byte in [0, b'0', b'9', b'"', b'[', b'}', b',', 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            opened += usize::from(read_all(&bytes));
        }
    }
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=(random.next() % 4) {
            let at = random.next() as usize % header;
            match random.next() % 3 {
                0 => bytes[at] = random.next() as u8,
                1 => {
                    bytes.remove(at.max(8));
                }
                _ => bytes.insert(at.max(8), bytes[random.next() as usize % header]),
            }
        }
        let length = bytes.len().saturating_sub(8 + 32) as u64;
        if random.next().is_multiple_of(2) {
            bytes[..8].copy_from_slice(&length.to_le_bytes());
        }
        opened += usize::from(read_all(&bytes));
    }
    assert!(
        opened > 0,
        "no mutation left a valid file: the test is blind"
    );
    for length in 0..200 {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        read_all(&bytes);
        if length >= 8 {
            bytes[..8].copy_from_slice(&(length as u64 - 8).to_le_bytes());
            read_all(&bytes);
        }
    }
}

#[test]
fn the_writer_checks_its_caller() {
    let infos = [TensorInfo::f32("w", [2])];
    for count in [1, 3] {
        let error = write(&mut Vec::new(), &infos, &[], &mut |_, out| {
            encode(Dtype::F32, &vec![0.0; count], out)
        })
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let twice = [TensorInfo::f32("w", [0]), TensorInfo::f32("w", [0])];
    let error = write(&mut Vec::new(), &twice, &[], &mut |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("two tensors are called w"));
}

fn shard(folder: &Path, file: &str, tensors: &[(&str, f32)]) {
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, _)| TensorInfo::f32(*name, [2]))
        .collect();
    let mut out = fs::File::create(folder.join(file)).unwrap();
    write(&mut out, &infos, &[], &mut |index, out| {
        encode(Dtype::F32, &[tensors[index].1; 2], out)
    })
    .unwrap();
    out.flush().unwrap();
}

fn index(folder: &Path, map: &[(&str, &str)]) {
    let map: BTreeMap<_, _> = map.iter().copied().collect();
    let index = serde_json::json!({"metadata": {"total_size": 16}, "weight_map": map});
    fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
}

#[test]
fn shards_are_read_through_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    shard(folder, "one.safetensors", &[("a", 1.0)]);
    shard(folder, "two.safetensors", &[("b", 2.0), ("c", 3.0)]);
    index(
        folder,
        &[
            ("c", "two.safetensors"),
            ("a", "one.safetensors"),
            ("b", "two.safetensors"),
        ],
    );
    let mut weights = Weights::open(folder).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    for (name, value) in [("a", 1.0), ("b", 2.0), ("c", 3.0)] {
        let mut out = [0.0; 2];
        weights.read_into(name, &mut out).unwrap();
        assert_eq!(out, [value; 2]);
    }
    let error = |map: &[(&str, &str)]| {
        index(folder, map);
        Weights::open(folder).unwrap_err().to_string()
    };
    assert!(
        error(&[("a", "one.safetensors"), ("b", "one.safetensors")])
            .contains("tensor b: is not in the shard one.safetensors")
    );
    assert!(error(&[("b", "two.safetensors")]).contains("tensor c: is not listed"));
    assert!(error(&[("a", "../one.safetensors")]).contains("not a plain file name"));
    assert!(error(&[("a", "/etc/passwd")]).contains("not a plain file name"));
    assert!(error(&[("a", "three.safetensors")]).contains("three.safetensors"));
    fs::write(folder.join("model.safetensors.index.json"), "{").unwrap();
    let error = Weights::open(folder).unwrap_err().to_string();
    assert!(error.contains("the index is not valid"), "{error}");
}
