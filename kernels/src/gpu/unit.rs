//! Kernels as text: a unit is one `gpu.cu`, the shared pieces it names, and the definitions that make it special.

use crate::Dtype;
use std::fmt::Write as _;

/// Names of the execution model, numbers, matrix instructions: the only text that tells CUDA, HIP and the host apart.
pub const PRELUDE: &str = include_str!("prelude.cuh");
/// Sums and maxima over a warp and over a block.
pub const REDUCE: Piece = Piece {
    name: "reduce.cuh",
    text: include_str!("reduce.cuh"),
};

/// The activation functions and their derivatives, chosen by the definition `ACT` ([`crate::ops::act::Act::define`]).
pub const ACT: Piece = Piece {
    name: "act.cuh",
    text: include_str!("act.cuh"),
};

/// Several neighbouring elements at once; takes the definition `W` ([`super::basic::pack_width`]).
pub const PACK: Piece = Piece {
    name: "pack.cuh",
    text: include_str!("pack.cuh"),
};
/// Philox and the key of an operation that draws random numbers.
pub const PHILOX: Piece = Piece {
    name: "philox.cuh",
    text: include_str!("philox.cuh"),
};

/// The tensor cores and the copy engine of Hopper: for kernels of `sm_90a` alone.
pub const HOPPER: Piece = Piece {
    name: "hopper.cuh",
    text: include_str!("hopper.cuh"),
};

/// A text that several units share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its file.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// One `gpu.cu`.
#[derive(Debug)]
pub struct Unit {
    /// Its file, as errors name it: `ops/add/gpu.cu`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Shared pieces that come before it.
    pub pieces: &'static [Piece],
}

/// A kernel of a unit with its definitions.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its unit.
    pub unit: &'static Unit,
    /// Its name.
    pub name: &'static str,
    /// `-D` definitions, in the order in which they were given.
    pub defines: Vec<(&'static str, String)>,
}

impl Unit {
    /// A kernel of this unit.
    pub fn kernel(&'static self, name: &'static str) -> Kernel {
        Kernel {
            unit: self,
            name,
            defines: Vec::new(),
        }
    }
}

impl Kernel {
    /// Defines `name` as the C++ type of `dtype`.
    #[must_use]
    pub fn with_type(self, name: &'static str, dtype: Dtype) -> Self {
        self.with(name, cpp_type(dtype))
    }

    /// Defines `name` as `value`.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and literals are given as they are"
    )]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.defines.push((name, value.to_string()));
        self
    }

    /// What is compiled. Kernels of one unit with the same definitions are compiled once.
    pub fn source(&self) -> Source {
        Source {
            unit: self.unit,
            defines: self.defines.clone(),
        }
    }
}

/// A unit with its definitions: what is compiled and cached.
#[derive(Clone, Debug)]
pub struct Source {
    /// The unit.
    pub unit: &'static Unit,
    /// Its definitions.
    pub defines: Vec<(&'static str, String)>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.unit.name == other.unit.name && self.defines == other.defines
    }
}

impl Eq for Source {}

impl std::hash::Hash for Source {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.unit.name.hash(state);
        self.defines.hash(state);
    }
}

impl Source {
    /// The whole text, with `#line` marks so that a compiler's complaint names the file that people edit.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.defines {
            writeln!(text, "#define {name} {value}").expect("a String takes any text");
        }
        let prelude = Piece {
            name: "prelude.cuh",
            text: PRELUDE,
        };
        let unit = Piece {
            name: self.unit.name,
            text: self.unit.text,
        };
        for piece in [prelude].iter().chain(self.unit.pieces).chain([&unit]) {
            writeln!(text, "#line 1 \"{}\"\n{}", piece.name, piece.text)
                .expect("a String takes any text");
        }
        text
    }

    /// Unit and definitions in a line, for messages and file names.
    pub fn title(&self) -> String {
        let mut title = self.unit.name.to_owned();
        for (name, value) in &self.defines {
            write!(title, " {name}={value}").expect("a String takes any text");
        }
        title
    }
}

/// What a kernel calls an element.
pub fn cpp_type(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float",
        Dtype::Bf16 => "bf16",
        Dtype::I32 => "int",
        Dtype::F64 => panic!("gradient checks in f64 are made on the CPU"),
    }
}
