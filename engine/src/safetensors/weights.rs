//! A model's weights: one file, or shards that an index lists.

use super::{Entry, Error, SafeTensors, Shown};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The weights of a folder: `model.safetensors`, or the shards of `model.safetensors.index.json`.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<SafeTensors>,
    /// Tensor to file.
    names: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens the weights of a folder, or one file.
    ///
    /// # Errors
    /// If neither file is there, one is not valid, or the index and the shards disagree about a tensor.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Self::single(path);
        }
        let single = path.join("model.safetensors");
        let index = path.join("model.safetensors.index.json");
        if single.exists() || !index.exists() {
            return Self::single(&single);
        }
        Self::sharded(path, &index)
    }

    fn single(path: &Path) -> Result<Self, Error> {
        let file = SafeTensors::open(path)?;
        let entries = file.entries().iter();
        let names = entries.map(|entry| (entry.info.name.clone(), 0)).collect();
        Ok(Self {
            path: path.to_owned(),
            files: vec![file],
            names,
        })
    }

    fn sharded(folder: &Path, path: &Path) -> Result<Self, Error> {
        let bad = |message: String| Error::File {
            path: path.to_owned(),
            message,
        };
        let text = fs::read(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("the index is not valid: {error}")))?;
        let mut shards = BTreeMap::new();
        for shard in index.weight_map.values() {
            let next = shards.len();
            shards.entry(shard.as_str()).or_insert(next);
        }
        let mut files: Vec<Option<SafeTensors>> = (0..shards.len()).map(|_| None).collect();
        for (shard, &at) in &shards {
            // The index may come from anywhere: it must not reach out of the folder.
            let mut parts = Path::new(shard).components();
            if !matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(bad(format!(
                    "the shard {} is not a plain file name",
                    Shown(shard)
                )));
            }
            files[at] = Some(SafeTensors::open(folder.join(shard))?);
        }
        let files: Vec<SafeTensors> = files.into_iter().flatten().collect();
        let mut names = BTreeMap::new();
        for (name, shard) in &index.weight_map {
            let at = shards[shard.as_str()];
            if files[at].entry(name).is_none() {
                return Err(Error::Tensor {
                    path: path.to_owned(),
                    tensor: name.clone(),
                    message: format!("is not in the shard {}", Shown(shard)),
                });
            }
            names.insert(name.clone(), at);
        }
        for (at, file) in files.iter().enumerate() {
            for entry in file.entries() {
                if names.get(&entry.info.name) != Some(&at) {
                    return Err(Error::Tensor {
                        path: file.path().to_owned(),
                        tensor: entry.info.name.clone(),
                        message: "is not listed for this shard in model.safetensors.index.json"
                            .to_owned(),
                    });
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            files,
            names,
        })
    }

    /// The file that names the tensors: the single one, or the index.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The tensor of this name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.files[*self.names.get(name)?].entry(name)
    }

    /// Reads a tensor, as [`SafeTensors::read_into`].
    ///
    /// # Errors
    /// As [`SafeTensors::read_into`].
    pub fn read_into(&mut self, name: &str, out: &mut [f32]) -> Result<(), Error> {
        self.file(name)?.read_into(name, out)
    }

    /// Reads a part of a tensor, as [`SafeTensors::read_at`].
    ///
    /// # Errors
    /// As [`SafeTensors::read_at`].
    pub fn read_at(&mut self, name: &str, from: usize, out: &mut [f32]) -> Result<(), Error> {
        self.file(name)?.read_at(name, from, out)
    }

    /// The file that holds a tensor.
    fn file(&mut self, name: &str) -> Result<&mut SafeTensors, Error> {
        let Some(&at) = self.names.get(name) else {
            return Err(Error::Tensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
                message: "is missing".to_owned(),
            });
        };
        Ok(&mut self.files[at])
    }
}
