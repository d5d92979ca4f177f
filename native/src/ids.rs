//! Ids of records: UUIDs of version 7, in the form of `wakelog.record.uuid7`.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::json::HEX;

/// The random part of a process's ids: a fixed field, and a counter with a random start.
struct Seed {
    process: u32,
    variant: u16,
    count: u64,
}

static SEED: Mutex<Option<Seed>> = Mutex::new(None);

/// Return a new UUID of version 7, 36 characters in lower case.
///
/// The twelve bits after the version are nanoseconds. The rest is the process's seed, which a
/// forked child chooses again: it compares the process id at each call.
pub fn uuid7() -> PyResult<[u8; 36]> {
    let process = std::process::id();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let (milliseconds, rest) = (now / 1_000_000, now % 1_000_000);
    // A thread that panicked cannot have left a half-written seed.
    let mut held = SEED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let seed = match held.as_mut() {
        Some(seed) if seed.process == process => seed,
        _ => held.insert(seeded(process)?),
    };
    seed.count += 1;
    let mut id = *b"00000000-0000-7000-0000-000000000000";
    put_hex(&mut id[0..8], milliseconds >> 16);
    put_hex(&mut id[9..13], milliseconds);
    put_hex(&mut id[15..18], rest >> 8);
    put_hex(&mut id[19..23], seed.variant.into());
    put_hex(&mut id[24..36], seed.count);
    Ok(id)
}

/// Forget the seed, as a forked child may even have its parent's process id.
pub fn forget() {
    *SEED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
}

/// Return a new UUID of version 7 as a text.
#[pyfunction]
pub fn new_id(py: Python<'_>) -> PyResult<Bound<'_, PyString>> {
    PyString::from_bytes(py, &uuid7()?)
}

/// Write the lowest digits of a number, as many as there is place for.
fn put_hex(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = HEX[(number & 15) as usize];
        number >>= 4;
    }
}

fn seeded(process: u32) -> PyResult<Seed> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| {
        PyOSError::new_err(format!("the system gave no random bytes for ids of records: {error}"))
    })?;
    let random = u64::from_ne_bytes(random);
    Ok(Seed {
        process,
        variant: 0x8000 | (random >> 48) as u16 & 0x3FFF,
        count: random & ((1 << 47) - 1),
    })
}
