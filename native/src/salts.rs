//! The salted part of a line, with content that can be erased; see `wakelog.record._salted`.

use std::sync::Mutex;

use pyo3::exceptions::PyOSError;
use pyo3::PyResult;

use crate::json;

const SALT_BYTES: usize = 16;
/// How many salts are created at once, which takes less time.
const SALTS: usize = 256;
/// The bytes around the content: a salt in hexadecimal, its quotation marks and the comma.
const AROUND: usize = 2 * SALT_BYTES + 3;
/// The size of the smallest part that can be erased: a digest and a padding of 32 characters.
const SMALLEST: usize = 101;

/// Salts that are not used yet, and the process that they are for.
struct Salts {
    process: u32,
    unused: Vec<u8>,
}

static SALTS_LEFT: Mutex<Salts> = Mutex::new(Salts { process: 0, unused: Vec::new() });

/// Write the field with a line's content, an encoded JSON object, beginning with a comma.
pub fn put_field(out: &mut Vec<u8>, mut content: Vec<u8>) -> PyResult<()> {
    let salt = salt()?;
    if content.len() + AROUND < SMALLEST {
        content.resize(SMALLEST - AROUND, b' ');
    }
    out.extend_from_slice(b",\"salted\":[");
    json::put_integer(out, (content.len() + AROUND) as i64);
    out.extend_from_slice(b",\"");
    for byte in salt {
        json::put_byte(out, byte);
    }
    out.extend_from_slice(b"\",");
    out.append(&mut content);
    out.push(b']');
    Ok(())
}

/// Forget the unused salts, as a forked child may even have its parent's process id.
pub fn forget() {
    SALTS_LEFT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).unused.clear();
}

/// Return a salt that is not used elsewhere, also not in a forked child.
fn salt() -> PyResult<[u8; SALT_BYTES]> {
    let process = std::process::id();
    // A thread that panicked cannot have left part of a salt.
    let mut held = SALTS_LEFT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if held.process != process || held.unused.is_empty() {
        let mut random = vec![0; SALTS * SALT_BYTES];
        getrandom::fill(&mut random).map_err(|error| {
            PyOSError::new_err(format!("the system gave no random bytes for salts: {error}"))
        })?;
        *held = Salts { process, unused: random };
    }
    let left = held.unused.len() - SALT_BYTES;
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&held.unused[left..]);
    held.unused.truncate(left);
    Ok(salt)
}
