//! Which of their tensors make up which of ours.

use super::{Architecture, HfModel};
use std::ops::Range;

/// One of our tensors and the tensors of the file that it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameMap {
    /// Our name: `blocks.3.mixer.qkv.weight`.
    pub ours: String,
    /// Our shape: `[out, in]` for a matrix.
    pub shape: Vec<usize>,
    /// Theirs, in the order of our rows.
    pub theirs: Vec<Part>,
    /// Whether theirs is `[in, out]` (GPT-2's Conv1D); then it is a single part.
    pub transpose: bool,
}

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the file.
    pub name: String,
    /// Its rows (elements of a vector) in our tensor.
    pub rows: Range<usize>,
}

impl NameMap {
    /// Shape of a part in the file.
    pub fn their_shape(&self, part: &Part) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = part.rows.len();
        }
        if self.transpose {
            shape.reverse();
        }
        shape
    }

    /// Elements of one of our rows.
    pub fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

/// The tensors of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Ours and theirs.
    pub maps: Vec<NameMap>,
    /// Name and shape of their tensors that we do not have: written as zeros, and only zeros are read.
    pub zeros: Vec<(String, Vec<usize>)>,
    /// Their tensors that may be in a file as copies of another one: `(copy, original)`.
    pub copies: Vec<(String, String)>,
    /// Ends of the names of tensors that hold nothing learned (masks, rotary frequencies).
    pub ignored: &'static [&'static str],
    /// What the names begin with, except in files saved without the head.
    pub prefix: &'static str,
}

impl Names {
    /// The names of an architecture's model.
    ///
    /// Ours, native: `embedding.weight`, `position.weight`, `blocks.N.norm1.{weight,bias}`,
    /// `blocks.N.mixer.{qkv,out}.{weight,bias}`, `blocks.N.mixer.{q_norm,k_norm}.weight`, `blocks.N.norm2.{weight,bias}`,
    /// `blocks.N.ffn.{gate_up,up,down}.{weight,bias}`, `norm.{weight,bias}`, `head.weight`.
    pub fn of(model: &HfModel) -> Self {
        let mut names = Self::default();
        if model.architecture == Architecture::Gpt2 {
            names.gpt2(model);
        } else {
            names.llama(model);
        }
        names
    }

    /// The names of a model that is none of the architectures: theirs are ours.
    pub fn native(tensors: &[(String, Vec<usize>)]) -> Self {
        let maps = tensors
            .iter()
            .map(|(name, shape)| NameMap {
                ours: name.clone(),
                shape: shape.clone(),
                theirs: vec![Part {
                    name: name.clone(),
                    rows: 0..shape.first().copied().unwrap_or(1),
                }],
                transpose: false,
            })
            .collect();
        Self {
            maps,
            ..Self::default()
        }
    }

    /// Adds a tensor of ours that consists of `(name, rows)`; `width` is `None` for a vector.
    fn add(&mut self, ours: String, width: Option<usize>, theirs: &[(String, usize)]) {
        let mut start = 0;
        let theirs = theirs
            .iter()
            .map(|(name, rows)| {
                let part = Part {
                    name: format!("{}{name}", self.prefix),
                    rows: start..start + rows,
                };
                start += rows;
                part
            })
            .collect();
        let mut shape = vec![start];
        shape.extend(width);
        self.maps.push(NameMap {
            ours,
            shape,
            theirs,
            transpose: false,
        });
    }

    fn llama(&mut self, model: &HfModel) {
        let (hidden, inner) = (model.hidden_size, model.intermediate_size);
        let q = model.heads * model.head_dim;
        let kv = model.kv_heads * model.head_dim;
        self.prefix = "model.";
        self.ignored = &[".rotary_emb.inv_freq"];
        let one = |name: &str, rows: usize| [(name.to_owned(), rows)];
        self.add(
            "embedding.weight".to_owned(),
            Some(hidden),
            &one("embed_tokens.weight", model.vocab_size),
        );
        for n in 0..model.layers {
            let ours = |name: &str| format!("blocks.{n}.{name}");
            let theirs = |name: &str, rows: usize| (format!("layers.{n}.{name}"), rows);
            self.add(
                ours("norm1.weight"),
                None,
                &[theirs("input_layernorm.weight", hidden)],
            );
            for (kind, width, wanted) in kinds(hidden, model.qkv_bias) {
                let qkv = [("q", q), ("k", kv), ("v", kv)]
                    .map(|(x, rows)| theirs(&format!("self_attn.{x}_proj.{kind}"), rows));
                if wanted {
                    self.add(ours(&format!("mixer.qkv.{kind}")), width, &qkv);
                }
            }
            if model.qk_norm {
                for x in ["q_norm", "k_norm"] {
                    let part = theirs(&format!("self_attn.{x}.weight"), model.head_dim);
                    self.add(ours(&format!("mixer.{x}.weight")), None, &[part]);
                }
            }
            for (kind, width, wanted) in kinds(q, model.out_bias) {
                let part = theirs(&format!("self_attn.o_proj.{kind}"), hidden);
                if wanted {
                    self.add(ours(&format!("mixer.out.{kind}")), width, &[part]);
                }
            }
            self.add(
                ours("norm2.weight"),
                None,
                &[theirs("post_attention_layernorm.weight", hidden)],
            );
            for (kind, width, wanted) in kinds(hidden, model.ffn_bias) {
                let parts = ["gate", "up"].map(|x| theirs(&format!("mlp.{x}_proj.{kind}"), inner));
                if wanted {
                    self.add(ours(&format!("ffn.gate_up.{kind}")), width, &parts);
                }
            }
            for (kind, width, wanted) in kinds(inner, model.ffn_bias) {
                let part = theirs(&format!("mlp.down_proj.{kind}"), hidden);
                if wanted {
                    self.add(ours(&format!("ffn.down.{kind}")), width, &[part]);
                }
            }
        }
        self.add("norm.weight".to_owned(), None, &one("norm.weight", hidden));
        self.head(model, "embed_tokens.weight");
    }

    fn gpt2(&mut self, model: &HfModel) {
        let (hidden, inner) = (model.hidden_size, model.intermediate_size);
        self.prefix = "transformer.";
        self.ignored = &[".attn.bias", ".attn.masked_bias"];
        for (ours, theirs, rows) in [
            ("embedding.weight", "wte.weight", model.vocab_size),
            (
                "position.weight",
                "wpe.weight",
                model.max_position_embeddings,
            ),
        ] {
            self.add(ours.to_owned(), Some(hidden), &[(theirs.to_owned(), rows)]);
        }
        for n in 0..model.layers {
            let ours = |name: &str| format!("blocks.{n}.{name}");
            let theirs = |name: &str| format!("h.{n}.{name}");
            self.norm(model, &ours("norm1"), &theirs("ln_1"));
            let maps = [
                (
                    "mixer.qkv",
                    "attn.c_attn",
                    3 * hidden,
                    hidden,
                    model.qkv_bias,
                ),
                ("mixer.out", "attn.c_proj", hidden, hidden, model.out_bias),
            ];
            for map in maps {
                self.conv1d(&ours(map.0), &theirs(map.1), map.2, map.3, map.4);
            }
            self.norm(model, &ours("norm2"), &theirs("ln_2"));
            let maps = [
                ("ffn.up", "mlp.c_fc", inner, hidden),
                ("ffn.down", "mlp.c_proj", hidden, inner),
            ];
            for map in maps {
                self.conv1d(&ours(map.0), &theirs(map.1), map.2, map.3, model.ffn_bias);
            }
        }
        self.norm(model, "norm", "ln_f");
        self.head(model, "wte.weight");
    }

    /// A vector that is a tensor of ours, or zeros in the file.
    fn bias(&mut self, here: bool, ours: String, theirs: String, len: usize) {
        if here {
            self.add(ours, None, &[(theirs, len)]);
        } else {
            self.zeros
                .push((format!("{}{theirs}", self.prefix), vec![len]));
        }
    }

    fn norm(&mut self, model: &HfModel, ours: &str, theirs: &str) {
        let len = model.hidden_size;
        self.add(
            format!("{ours}.weight"),
            None,
            &[(format!("{theirs}.weight"), len)],
        );
        self.bias(
            model.norm_bias,
            format!("{ours}.bias"),
            format!("{theirs}.bias"),
            len,
        );
    }

    fn conv1d(&mut self, ours: &str, theirs: &str, rows: usize, width: usize, bias: bool) {
        self.add(
            format!("{ours}.weight"),
            Some(width),
            &[(format!("{theirs}.weight"), rows)],
        );
        if let Some(map) = self.maps.last_mut() {
            map.transpose = true;
        }
        self.bias(bias, format!("{ours}.bias"), format!("{theirs}.bias"), rows);
    }

    fn head(&mut self, model: &HfModel, embedding: &str) {
        let head = "lm_head.weight".to_owned();
        if model.tie_word_embeddings {
            self.copies
                .push((head, format!("{}{embedding}", self.prefix)));
        } else {
            // The head stands outside the prefix.
            self.maps.push(NameMap {
                ours: "head.weight".to_owned(),
                shape: vec![model.vocab_size, model.hidden_size],
                theirs: vec![Part {
                    name: head,
                    rows: 0..model.vocab_size,
                }],
                transpose: false,
            });
        }
    }
}

/// The weight (with its width) and the bias of a linear layer, and whether each is there.
fn kinds(width: usize, bias: bool) -> [(&'static str, Option<usize>, bool); 2] {
    [("weight", Some(width), true), ("bias", None, bias)]
}
