//! Hashes of lines and of trees of them, as `wakelog.evidence._merkle` computes them.

use memchr::{memchr, memchr2};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sha2::{Digest, Sha256};

use crate::json::HEX;

const HASH: usize = 32;
/// The length of a salt in hexadecimal, and its first quotation mark.
const SALT: usize = 33;
/// How many digits the size of a salted part has at most.
const MOST_DIGITS: usize = 9;
/// The length of a digest in hexadecimal.
const DIGITS: usize = 2 * HASH;

type Hash = [u8; HASH];

/// Return the hashes of the sealed forms of a block's lines, one after another.
///
/// Other threads run meanwhile.
#[pyfunction]
pub fn leaves_of<'py>(py: Python<'py>, block: &[u8]) -> Bound<'py, PyBytes> {
    let leaves: Vec<u8> = py.detach(|| {
        let mut leaves = Vec::with_capacity(block.len() / 8);
        let (mut rest, mut form) = (block, Vec::with_capacity(1024));
        while let Some(end) = memchr(b'\n', rest) {
            leaves.extend_from_slice(&leaf_of(&rest[..end], &mut form));
            rest = &rest[end + 1..];
        }
        leaves.extend_from_slice(&leaf_of(rest, &mut form));
        leaves
    });
    PyBytes::new(py, &leaves)
}

/// Return the root of a tree from its leaves' hashes, which are one after another.
///
/// Other threads run meanwhile.
#[pyfunction]
pub fn root_of<'py>(py: Python<'py>, leaves: &[u8]) -> Bound<'py, PyBytes> {
    let root = py.detach(|| {
        let mut level: Vec<u8> = leaves.to_vec();
        while level.len() > HASH {
            level = level.chunks(2 * HASH).flat_map(above).collect();
        }
        level
    });
    if root.is_empty() {
        return PyBytes::new(py, &Sha256::digest(b""));
    }
    PyBytes::new(py, &root)
}

/// Return the hash of a node from those of its children; the root of an incomplete subtree as it is.
fn above(pair: &[u8]) -> Hash {
    match <Hash>::try_from(pair) {
        Ok(single) => single,
        Err(_) => Sha256::new_with_prefix([1]).chain_update(pair).finalize().into(),
    }
}

/// Return the hash of a line's sealed form, which is put together in `form`.
fn leaf_of(line: &[u8], form: &mut Vec<u8>) -> Hash {
    form.clear();
    form.push(0);
    match salted_part(line) {
        None => form.extend_from_slice(line),
        Some((begin, size)) => {
            let (before, rest) = line.split_at(begin);
            let (part, after) = rest.split_at(size.min(rest.len()));
            form.extend_from_slice(before);
            form.push(b'"');
            form.extend_from_slice(&digest_of(part));
            form.push(b'"');
            form.extend_from_slice(after);
        }
    }
    Sha256::digest(form).into()
}

/// Return where the salted part of a line begins, and the size that the line states for it.
fn salted_part(line: &[u8]) -> Option<(usize, usize)> {
    let mut rest = line.strip_prefix(b"{\"id\":\"")?;
    loop {
        let at = memchr2(b'"', b'\\', rest)?;
        if rest[at] == b'"' {
            rest = &rest[at + 1..];
            break;
        }
        rest = rest.get(at + 2..)?;
    }
    rest = without_digits(rest.strip_prefix(b",\"seq\":")?)?.1;
    if let Some(signal) = rest.strip_prefix(b",\"signal\":\"") {
        let size = signal.iter().take_while(|byte| matches!(byte, b'a'..=b'z' | b'_')).count();
        if size > 0 {
            rest = signal[size..].strip_prefix(b"\"")?;
        }
    }
    let (digits, rest) = without_digits(rest.strip_prefix(b",\"salted\":[")?)?;
    let rest = rest.strip_prefix(b",")?;
    if digits.len() > MOST_DIGITS {
        return None;
    }
    let size = digits.iter().fold(0, |size, digit| 10 * size + usize::from(digit - b'0'));
    Some((line.len() - rest.len(), size))
}

/// Split digits off, of which there has to be one.
fn without_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then(|| text.split_at(count))
}

/// Return the digest of a salted part in hexadecimal, which is the same after it was erased.
fn digest_of(part: &[u8]) -> [u8; DIGITS] {
    let has_content = part.get(SALT..SALT + 2) == Some(b"\",");
    if let Some(digest) = (!has_content).then(|| erased_digest(part)).flatten() {
        return digest;
    }
    let mut digits = [0; DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(Sha256::digest(part)) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    digits
}

/// Return the digest in a part whose content was erased.
fn erased_digest(part: &[u8]) -> Option<[u8; DIGITS]> {
    let (digest, rest) = part.strip_prefix(b"\"")?.split_first_chunk::<DIGITS>()?;
    let padding = rest.strip_prefix(b"\",\"")?.strip_suffix(b"\"")?;
    let is_digest = digest.iter().all(|byte| HEX.contains(byte));
    (is_digest && padding.iter().all(|byte| matches!(byte, b'0' | b'1'))).then_some(*digest)
}
