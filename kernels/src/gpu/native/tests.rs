//! The driver's own work, on the device of [`super::fake`].

use super::fake::{Fake, LIMIT, NoCompiler};
use super::staging::{HALF, PLACE, PLACES};
use super::*;
use crate::Dtype;
use crate::gpu::driver::Kind;
use crate::gpu::slots::Slots;
use crate::gpu::{Buffer, Gpu, TensorMap, View};

fn device() -> (Gpu, Arc<Fake>) {
    device_with(|_, _| None)
}

/// The device, with a library of matrix products.
pub(in crate::gpu) fn device_with(
    blas: impl FnOnce(&Arc<Fake>, Handle) -> Option<Box<dyn Blas>>,
) -> (Gpu, Arc<Fake>) {
    let info = Info {
        kind: Kind::Cuda,
        index: 0,
        name: "fake".to_owned(),
        arch: "none".to_owned(),
        versions: "fake 1.0".to_owned(),
        warp: 32,
        multiprocessors: 1,
        shared_bytes: 1 << 16,
        memory: LIMIT as u64,
    };
    let api = Arc::new(Fake::default());
    let native = Native::new(Arc::clone(&api), info, Box::new(NoCompiler), blas);
    (Gpu::new(Box::new(native.expect("a device")), None), api)
}

fn download(gpu: &Gpu, buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.bytes()];
    gpu.driver()
        .download(&mut bytes, buffer.address())
        .expect("copied");
    bytes
}

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 977 + salt) as u8).collect()
}

#[test]
fn copies_of_every_size_arrive_whole() {
    let (gpu, _) = device();
    for len in [
        1,
        7,
        PLACE - 1,
        PLACE,
        PLACE + 1,
        HALF,
        HALF + 1,
        2 * HALF,
        18 * PLACE + 5,
    ] {
        let buffer = gpu.alloc(len).expect("memory");
        let mut bytes = pattern(len, len);
        gpu.driver()
            .upload(buffer.address(), &bytes)
            .expect("copied");
        let want = bytes.clone();
        // The source may change at once.
        bytes.fill(0);
        assert!(download(&gpu, &buffer) == want, "{len}");
    }
    let empty = gpu.alloc(0).expect("nothing");
    gpu.driver().upload(empty.address(), &[]).expect("nothing");
    gpu.driver()
        .download(&mut [], empty.address())
        .expect("nothing");
}

#[test]
fn small_uploads_do_not_wait_until_the_ring_is_full() {
    let (gpu, api) = device();
    let buffers: Vec<_> = (0..3 * PLACES)
        .map(|_| gpu.alloc(64).expect("memory"))
        .collect();
    for (i, buffer) in buffers.iter().enumerate() {
        gpu.driver()
            .upload(buffer.address(), &pattern(64, i))
            .expect("copied");
        if i + 1 == PLACES {
            assert_eq!(api.state().done, 0, "nothing was waited for");
        }
    }
    for (i, buffer) in buffers.iter().enumerate() {
        assert_eq!(download(&gpu, buffer), pattern(64, i), "{i}");
    }
}

/// A kernel of the fake device.
fn add(gpu: &Gpu, buffer: &Buffer, by: f64) -> Result<(), GpuError> {
    let driver = gpu.driver();
    let module = driver.load(&[0])?;
    let function = driver.function(module, "add")?;
    let args = [
        Arg::Ptr(buffer.address()),
        Arg::from(buffer.bytes()),
        Arg::from(by),
    ];
    driver.launch(function, Grid::new(1, 256), &args)
}

#[test]
fn all_is_done_in_the_order_in_which_it_was_asked() {
    let (gpu, _) = device();
    let [one, two] = [0; 2].map(|_| gpu.alloc(16).expect("memory"));
    let driver = gpu.driver();
    driver.fill(one.address(), 3, 16).expect("filled");
    add(&gpu, &one, 4.0).expect("launched");
    driver
        .copy(two.address(), one.address(), 16)
        .expect("copied");
    driver.upload(one.address(), &[9; 16]).expect("copied");
    add(&gpu, &one, 1.0).expect("launched");
    assert_eq!(download(&gpu, &two), [7; 16]);
    assert_eq!(download(&gpu, &one), [10; 16]);
    driver
        .copy(two.address(), one.address(), 0)
        .expect("nothing");
    driver.fill(two.address(), 1, 0).expect("nothing");
    assert_eq!(download(&gpu, &two), [7; 16]);
}

#[test]
fn a_captured_sequence_is_run_when_it_is_replayed() {
    let (gpu, api) = device();
    let buffer = gpu.alloc(8).expect("memory");
    let driver = gpu.driver();
    driver.fill(buffer.address(), 0, 8).expect("filled");
    let graph = driver
        .capture(&mut || {
            add(&gpu, &buffer, 2.0)?;
            add(&gpu, &buffer, 3.0)
        })
        .expect("captured");
    assert_eq!(download(&gpu, &buffer), [0; 8]);
    for _ in 0..3 {
        driver.replay(graph).expect("replayed");
    }
    assert_eq!(download(&gpu, &buffer), [15; 8]);
    driver.forget(graph);
    driver.forget(graph);
    // What cannot be captured is refused, and spoils nothing.
    let error = driver.capture(&mut || driver.upload(buffer.address(), &[1; 8]));
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("while launches are captured"), "{error}");
    driver.upload(buffer.address(), &[1; 8]).expect("copied");
    assert_eq!(download(&gpu, &buffer), [1; 8]);
    let left = |what| {
        api.state()
            .handles
            .values()
            .filter(|one| **one == what)
            .count()
    };
    assert_eq!((left("graph"), left("ready")), (0, 0));
}

#[test]
fn shared_memory_is_asked_for_once_and_only_above_what_is_always_there() {
    let (gpu, api) = device();
    let buffer = gpu.alloc(8).expect("memory");
    let driver = gpu.driver();
    let module = driver.load(&[0]).expect("loaded");
    let function = driver.function(module, "add").expect("a kernel");
    let args = [Arg::Ptr(buffer.address()), Arg::I32(8), Arg::F32(1.0)];
    for shared in [0, 48 << 10, 60 << 10, 50 << 10, 64 << 10, 64 << 10] {
        let grid = Grid::new(1, 256).with_shared(shared);
        driver.launch(function, grid, &args).expect("launched");
    }
    assert_eq!(api.state().allowed, [60 << 10, 64 << 10]);
}

#[test]
fn failures_say_what_could_not_be_done() {
    let (gpu, api) = device();
    let driver = gpu.driver();
    let free = driver.free_memory().expect("known");
    let error = gpu.alloc(LIMIT).expect_err("too much");
    let wanted = LIMIT as u64;
    assert_eq!(error, GpuError::OutOfMemory { wanted, free });
    let module = driver.load(&[0]).expect("loaded");
    let error = driver
        .function(module, "none")
        .expect_err("none")
        .to_string();
    assert!(error.contains("find the kernel none"), "{error}");
    let function = driver.function(module, "add").expect("a kernel");
    let refused = driver.launch(function, Grid::new(1, 2048), &[]);
    let error = refused.expect_err("too many threads").to_string();
    assert!(error.contains("add") && error.contains("2048"), "{error}");
    let map = TensorMap::new(View::new(0, 64, Dtype::Bf16), &[64, 1], &[64], &[1]);
    let map = Arg::Map(map.expect("a matrix"));
    let error = driver.launch(function, Grid::new(1, 64), &[map]);
    let error = error.expect_err("a matrix").to_string();
    assert!(error.contains("no copy engine"), "{error}");
    let buffer = gpu.alloc(4).expect("memory");
    api.state().fail = Some("an illegal memory access was encountered");
    for failed in [
        driver.synchronize(),
        driver.download(&mut [0; 4], buffer.address()),
        driver.upload(buffer.address(), &[0; 4]),
        driver.time(&mut || Ok(())).map(drop),
    ] {
        match failed {
            Err(GpuError::Device(words)) => assert!(words.contains("illegal"), "{words}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn time_is_what_the_device_took_and_all_is_given_back() {
    let (gpu, api) = device();
    let buffer = gpu.alloc(1024).expect("memory");
    let seconds = gpu.driver().time(&mut || {
        add(&gpu, &buffer, 1.0)?;
        add(&gpu, &buffer, 1.0)
    });
    // The fake's clock counts what was done: two launches and the event.
    assert_eq!(seconds, Ok(f64::from(3f32) * 1e-3));
    let failing = gpu
        .driver()
        .time(&mut || Err(GpuError::Device("no".to_owned())));
    assert_eq!(failing, Err(GpuError::Device("no".to_owned())));
    let graph = gpu.driver().capture(&mut || add(&gpu, &buffer, 1.0));
    graph.expect("captured");
    let view = buffer.view(0, 4, Dtype::F32);
    assert_eq!(view.len, 4);
    drop(buffer);
    drop(gpu);
    let state = api.state();
    assert!(state.handles.is_empty(), "{:?}", state.handles);
    assert!(state.memory.is_empty(), "{:?}", state.memory);
}

/// Nine turns of two slots on a device whose stream number `ahead` runs ahead: what the launches of each turn read.
fn turns(ahead: Option<usize>) -> Vec<u8> {
    let (gpu, api) = device();
    let driver = gpu.driver();
    let mut slots = Slots::new(&gpu, 16).expect("memory");
    let [stage, out] = [16, 16 * 9].map(|bytes| gpu.alloc(bytes).expect("memory"));
    let mut graphs = [None; 2];
    api.state().ahead = ahead;
    // The first half of the first turn comes before its time, as that of every other.
    slots.write(0, &[0; 8]).expect("written");
    for turn in 0..9 {
        slots.write(8, &[turn; 8]).expect("written");
        slots.begin().expect("begun");
        let from = slots.address();
        let graph = *graphs[slots.turn()].get_or_insert_with(|| {
            let captured = driver.capture(&mut || driver.copy(stage.address(), from, 16));
            captured.expect("captured")
        });
        driver.replay(graph).expect("replayed");
        let to = out.address() + 16 * u64::from(turn);
        driver.copy(to, stage.address(), 16).expect("copied");
        slots.end().expect("ended");
        slots.write(0, &[turn + 1; 8]).expect("written");
        if turn % 3 == 2 {
            driver
                .download(&mut [0; 16], stage.address())
                .expect("copied");
        }
    }
    download(&gpu, &out)
}

#[test]
fn a_slot_is_read_when_it_is_written_and_written_when_it_was_read() {
    let want: Vec<u8> = (0..9).flat_map(|turn| [turn; 16]).collect();
    for ahead in [None, Some(0), Some(1)] {
        assert_eq!(turns(ahead), want, "stream {ahead:?} runs ahead");
    }
}

#[test]
fn the_next_slot_is_filled_while_this_one_is_read() {
    let (gpu, api) = device();
    let mut slots = Slots::new(&gpu, 16).expect("memory");
    let out = gpu.alloc(16).expect("memory");
    let bytes = |address: u64| {
        let at: *const u8 = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: the fake's memory is the host's, and nothing runs.
        unsafe { *at }
    };
    // Copies run ahead, launches wait until somebody waits for them.
    api.state().ahead = Some(1);
    let [first, second] = [1, 2].map(|turn| {
        let slot = slots.address();
        slots.write(0, &[turn; 16]).expect("written");
        slots.begin().expect("begun");
        let done = gpu.driver().copy(out.address(), slot, 16);
        done.expect("copied");
        slots.end().expect("ended");
        slot
    });
    assert_eq!([bytes(first), bytes(second)], [1, 2], "both are filled");
    slots.write(0, &[3; 16]).expect("written");
    assert_eq!(bytes(first), 1, "the third turn waits for the first");
    assert_eq!(bytes(out.address()), 0xee, "nothing was launched yet");
    assert_eq!(download(&gpu, &out), [2; 16]);
    assert_eq!(bytes(first), 3);
}
