//! Whole models on a device: every tensor's gradient beside the CPU's, in the same precision and from the same weights.

use super::super::model::{GPT2, LLAMA, VOCAB, random_batch, toy};
use super::super::{Check, Outcome};
use engine::data::Batch;
use engine::estimate::allowed_threads;
use engine::model::Model;
use engine::train::step::Trainer;
use kernels::Cpu;
use kernels::gpu::{Gpu, Kind};
use kernels::philox::Stream;

/// Bounds of `|g - g'| / |g'|` of every tensor, `g'` being the CPU's gradient.
const F32: f64 = 1e-3;
const BF16: f64 = 3e-2;
/// A gradient this many times smaller than the model's is zero but for rounding (that of the keys' biases, which a softmax
/// does not see), and is measured against the model's instead.
const ROUNDING: f64 = 1e-5;

/// A model small enough that the CPU makes its step in seconds.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// What differs from the toy.
    sets: &'static [&'static str],
    vocab: usize,
    seq: usize,
    /// Rows of the two micro-batches.
    rows: [usize; 2],
}

/// What the emulation makes in seconds.
const TINY: Size = Size {
    sets: &[],
    vocab: VOCAB,
    seq: 16,
    rows: [2, 1],
};

/// Large enough for the kernels that real models use: heads of 64 channels, sums over hundreds of rows, tensor cores; and sizes
/// that no tile divides.
const SMALL: Size = Size {
    sets: &[
        "model.layers=3",
        "model.dim=256",
        "model.ffn.hidden=712",
        "model.init_std=0.05",
        "model.vocab_size=1003",
        "data.sequence_length=333",
        "train.batch_size=5",
    ],
    vocab: 1003,
    seq: 333,
    rows: [3, 2],
};

/// One check a model of the two shapes that everything else is between.
pub(super) fn checks(gpu: &Gpu, precision: &'static str) -> Vec<Check> {
    let size = if gpu.info().kind == Kind::Emulated {
        TINY
    } else {
        SMALL
    };
    [("gpt2", GPT2), ("llama", LLAMA)]
        .into_iter()
        .map(|(shape, sets)| {
            let gpu = gpu.clone();
            Check::new(format!("gpu gradients {shape} {precision}"), move || {
                compare(&gpu, sets, size, precision)
            })
        })
        .collect()
}

fn compare(gpu: &Gpu, shape: &[&str], size: Size, precision: &str) -> Outcome {
    let on_gpu = gradients(shape, size, precision, Some(gpu))?;
    let on_cpu = gradients(shape, size, precision, None)?;
    let bound = if precision == "f32" { F32 } else { BF16 };
    verdict(&on_gpu, &on_cpu, bound)
}

/// Names of the tensors and their gradients.
type Gradients = Vec<(String, Vec<f32>)>;

/// The gradient of one step of two micro-batches, the second smaller, with documents that end within a row.
fn gradients(
    shape: &[&str],
    size: Size,
    precision: &str,
    gpu: Option<&Gpu>,
) -> Result<Gradients, String> {
    let sets: Vec<&str> = shape.iter().chain(size.sets).copied().collect();
    let mut config = toy(&sets)?;
    config.device.bf16 = precision == "bf16";
    let model = Model::new(&config.model, size.vocab);
    let threads = Cpu::new(allowed_threads());
    let mut trainer =
        Trainer::on(&config, model, threads, gpu.cloned()).map_err(|error| error.to_string())?;
    // Gains away from one and biases away from zero, so that nothing hides behind them.
    let mut stream = Stream::new(1, 1);
    for x in trainer.params.values_mut() {
        *x += 0.02 * stream.normal() as f32;
    }
    trainer
        .gradients(&batches(size), 1, false, &|| false)
        .and_then(|_| trainer.fetch_gradients())
        .map_err(|error| error.to_string())?;
    let params = &trainer.params;
    let named = params
        .ids()
        .map(|(id, name)| (name.to_owned(), params.gradient(id).to_vec()));
    Ok(named.collect())
}

fn batches(size: Size) -> Vec<Batch> {
    let mut row0 = 0;
    size.rows
        .map(|rows| {
            let mut batch = random_batch(size.vocab, rows, size.seq, 11 + row0);
            batch.row0 = row0;
            row0 += rows as u64;
            let end = size.seq / 3;
            for (i, (start, position)) in batch
                .doc_start
                .iter_mut()
                .zip(&mut batch.positions)
                .enumerate()
            {
                let at = i % size.seq;
                *start = if at < end { 0 } else { end as i32 };
                *position = at as i32 - *start;
            }
            batch
        })
        .into()
}

/// What the worst of the tensors says.
fn verdict(got: &Gradients, want: &Gradients, bound: f64) -> Outcome {
    let whole = norm(want.iter().flat_map(|(_, gradient)| gradient));
    let mut worst = (0.0, "");
    for ((name, got), (_, want)) in got.iter().zip(want) {
        let difference: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
        let error = norm(&difference) / norm(want).max(ROUNDING * whole);
        if error.is_nan() || error > worst.0 {
            worst = (if error.is_nan() { f64::INFINITY } else { error }, name);
        }
    }
    let (error, name) = worst;
    let found = format!(
        "{} gradients: the CPU's but for {error:.1e} of it at most, in {name}",
        want.len()
    );
    if error <= bound && !want.is_empty() && whole > 0.0 {
        Ok(found)
    } else {
        Err(format!("{found}; the bound is {bound:.0e}"))
    }
}

fn norm<'a>(values: impl IntoIterator<Item = &'a f32>) -> f64 {
    let squares = values.into_iter().map(|x| f64::from(*x) * f64::from(*x));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::gpu::compiled::Cache;
    use kernels::gpu::{GpuError, devices};

    fn named(values: &[&[f32]]) -> Gradients {
        let numbered = values.iter().enumerate();
        numbered
            .map(|(i, values)| (format!("tensor{i}"), values.to_vec()))
            .collect()
    }

    #[test]
    fn the_worst_tensor_is_named_however_small_it_is() {
        let want = named(&[&[3.0, 4.0], &[1e-3, 0.0], &[1e-9, 1e-9]]);
        let same = verdict(&want, &want, 1e-3).unwrap();
        assert!(same.starts_with("3 gradients"), "{same}");
        // A tenth of a small tensor, a hundred-thousandth of the model.
        let off = named(&[&[3.0, 4.0], &[1.1e-3, 0.0], &[1e-9, 1e-9]]);
        let error = verdict(&off, &want, 3e-2).unwrap_err();
        assert!(
            error.contains("1.0e-1 of it at most, in tensor1"),
            "{error}"
        );
        // Nothing but rounding.
        let noise = named(&[&[3.0, 4.0], &[1e-3, 0.0], &[-1e-9, 2e-9]]);
        assert!(verdict(&noise, &want, 1e-3).is_ok());
        for broken in [f32::NAN, f32::INFINITY] {
            let broken = named(&[&[3.0, 4.0], &[broken, 0.0], &[1e-9, 1e-9]]);
            assert!(
                verdict(&broken, &want, 1.0)
                    .unwrap_err()
                    .contains("tensor1")
            );
        }
        let zero = named(&[&[0.0]]);
        assert!(verdict(&zero, &zero, 1.0).is_err(), "nothing was compared");
    }

    #[test]
    fn models_on_the_emulated_device_have_the_gradients_of_the_cpu() {
        let program = std::env::current_exe().unwrap();
        let cache = Cache::new(program.with_file_name("emulated"));
        let gpu = match devices::open(Kind::Emulated, 0, Some(cache)) {
            Ok(gpu) => gpu,
            Err(GpuError::Missing(why)) => {
                eprintln!("skipped: gradients on the emulated device: {why}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        for precision in ["f32", "bf16"] {
            for check in checks(&gpu, precision) {
                let outcome = (check.run)();
                assert!(outcome.is_ok(), "{}: {outcome:?}", check.name);
            }
        }
        // A bound that no arithmetic in another order keeps.
        assert!(
            verdict(
                &gradients(LLAMA, TINY, "bf16", Some(&gpu)).unwrap(),
                &gradients(LLAMA, TINY, "f32", None).unwrap(),
                1e-5
            )
            .is_err()
        );
    }
}
