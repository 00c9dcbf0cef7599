//! Parameters as a model names them, before they have memory: shape, group and start of each.

/// Which rule an optimizer applies to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// A weight of a linear map inside a block: decayed.
    Matrix,
    /// A table of token or position vectors: not decayed.
    Embedding,
    /// An output head of its own: decayed.
    Head,
    /// A gain or a bias: not decayed.
    Vector,
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// All zero.
    Zeros,
    /// All one.
    Ones,
}

/// A parameter before it has memory.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Dotted name, such as `blocks.3.mixer.qkv.weight`.
    pub name: String,
    /// Shape; linear weights are `[out, in]`.
    pub shape: Vec<usize>,
    /// Its group.
    pub group: Group,
    /// Its start.
    pub init: Init,
}

/// A parameter's number: its place in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);

/// Parameters as a model registers them, before any memory is given.
#[derive(Clone, Debug, Default)]
pub struct ParamSpecs {
    specs: Vec<ParamSpec>,
}

impl ParamSpecs {
    /// Registers a parameter. Names are unique: a second one is a bug in the model.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        group: Group,
        init: Init,
    ) -> ParamId {
        let name = name.into();
        assert!(
            self.specs.iter().all(|spec| spec.name != name),
            "two parameters are called {name}"
        );
        self.specs.push(ParamSpec {
            name,
            shape: shape.to_vec(),
            group,
            init,
        });
        ParamId(self.specs.len() as u32 - 1)
    }

    /// What is registered, in order.
    pub fn all(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// The description of one parameter.
    pub fn get(&self, id: ParamId) -> &ParamSpec {
        &self.specs[id.0 as usize]
    }

    /// Trained numbers.
    pub fn count(&self) -> u64 {
        self.specs
            .iter()
            .map(|spec| spec.shape.iter().product::<usize>() as u64)
            .sum()
    }
}
