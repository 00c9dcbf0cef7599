//! Pinned memory that copies to and from the device go through: only from there does a device copy by itself, while the
//! processor goes on.

use super::api::{Answer, Api, Handle};
use crate::gpu::lock;
use std::sync::Mutex;

/// Bytes of a place of the ring. A batch's token ids fit; larger uploads take several.
pub(super) const PLACE: usize = 1 << 20;
/// Places: how many uploads may be on their way before the processor waits for the oldest.
pub(super) const PLACES: usize = 16;
/// Bytes of each of the two halves that downloads go through.
pub(super) const HALF: usize = 4 << 20;

/// Pinned memory, cut into a ring for uploads and two halves for downloads.
#[derive(Debug)]
pub(super) struct Staging {
    memory: usize,
    up: Mutex<Ring>,
    down: Mutex<[Handle; 2]>,
}

#[derive(Debug)]
struct Ring {
    /// Reached when the copy out of a place is over.
    done: Vec<Handle>,
    next: usize,
}

impl Staging {
    /// Takes the memory and the events. The device is bound.
    pub(super) fn new<A: Api>(api: &A) -> Answer<Self> {
        let mut events = Vec::new();
        for _ in 0..PLACES + 2 {
            // SAFETY: the device is bound.
            match unsafe { api.event(false) } {
                Ok(event) => events.push(event),
                Err(failure) => {
                    end_all(api, &events);
                    return Err(failure);
                }
            }
        }
        // SAFETY: the device is bound.
        let memory = match unsafe { api.pin(PLACE * PLACES + 2 * HALF) } {
            Ok(memory) => memory.expose_provenance(),
            Err(failure) => {
                end_all(api, &events);
                return Err(failure);
            }
        };
        let down = [events[PLACES], events[PLACES + 1]];
        events.truncate(PLACES);
        Ok(Self {
            memory,
            up: Mutex::new(Ring {
                done: events,
                next: 0,
            }),
            down: Mutex::new(down),
        })
    }

    fn at(&self, offset: usize) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.memory + offset)
    }

    /// Copies `from` to the address `to`, piece by piece through the ring. `from` may change as soon as this returns.
    pub(super) fn upload<A: Api>(
        &self,
        api: &A,
        stream: Handle,
        to: u64,
        from: &[u8],
    ) -> Answer<()> {
        let mut ring = lock(&self.up);
        for (piece, to) in from.chunks(PLACE).zip((to..).step_by(PLACE)) {
            let place = ring.next;
            ring.next = (place + 1) % PLACES;
            let done = ring.done[place];
            let memory = self.at(place * PLACE);
            // SAFETY: the place is ours under the lock, and the copy that last read it is over after the wait. The caller's
            // views check that the device's memory has room.
            unsafe {
                api.wait_event(done)?;
                std::ptr::copy_nonoverlapping(piece.as_ptr(), memory, piece.len());
                api.to_device(to, memory, piece.len(), stream)?;
                api.record(done, stream)?;
            }
        }
        Ok(())
    }

    /// Copies from the address `from`, and waits for it. While one half is copied out, the device fills the other.
    pub(super) fn download<A: Api>(
        &self,
        api: &A,
        stream: Handle,
        to: &mut [u8],
        from: u64,
    ) -> Answer<()> {
        let done = lock(&self.down);
        let half = |piece: usize| self.at(PLACE * PLACES + piece % 2 * HALF);
        let len = to.len();
        let ask = |piece: usize| {
            let start = piece * HALF;
            let bytes = HALF.min(len - start);
            // SAFETY: the half is ours under the lock, and was copied out before it is asked for again.
            unsafe {
                api.to_host(half(piece), from + start as u64, bytes, stream)?;
                api.record(done[piece % 2], stream)
            }
        };
        if len > 0 {
            ask(0)?;
        }
        for (piece, to) in to.chunks_mut(HALF).enumerate() {
            if (piece + 1) * HALF < len {
                ask(piece + 1)?;
            }
            // SAFETY: after the wait nothing writes this half until it is asked for again.
            unsafe {
                api.wait_event(done[piece % 2])?;
                std::ptr::copy_nonoverlapping(half(piece).cast_const(), to.as_mut_ptr(), to.len());
            }
        }
        Ok(())
    }

    /// Gives all back.
    ///
    /// # Safety
    /// All copies are over, and this is not used afterwards.
    pub(super) unsafe fn give_back<A: Api>(&self, api: &A) {
        end_all(api, &lock(&self.up).done);
        end_all(api, &*lock(&self.down));
        // SAFETY: pinned by `new`; no copy reads or writes it any more.
        drop(unsafe { api.unpin(self.at(0)) });
    }
}

fn end_all<A: Api>(api: &A, events: &[Handle]) {
    for event in events {
        // SAFETY: made by `new`, not used afterwards. What is given back needs no answer.
        drop(unsafe { api.end_event(*event) });
    }
}
