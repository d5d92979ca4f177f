//! Writing Python values as JSON, as the codec of Wakelog (orjson) writes them.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Limits of a value that is written here: larger ones are checked and written in Python.
const MOST_LEVELS: usize = 32;
const MOST_ITEMS: usize = 1000;

/// The key that marks Wakelog's own forms, and so cannot be one of a user's.
pub const TAG: &str = "$wakelog";
pub const HEX: &[u8; 16] = b"0123456789abcdef";
/// For each byte whether it has to be escaped in a text.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Return whether one of eight bytes has to be escaped in a text.
fn any_escaped(eight: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    // The high bit of each byte that is less than `least`, if there is one, for `least` below 0x80.
    let less = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word & HIGH;
    let word = u64::from_ne_bytes(eight);
    let equal = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    (less(word, 0x20) | equal(b'"') | equal(b'\\')) != 0
}

/// Return the length of a beginning of a text in which nothing has to be escaped.
fn plain_beginning(bytes: &[u8]) -> usize {
    let mut chunks = bytes.chunks_exact(8);
    let plain =
        chunks.by_ref().take_while(|chunk| !any_escaped((*chunk).try_into().unwrap_or_default()));
    8 * plain.count()
}

/// Write a text.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(plain_beginning(bytes)) {
        if !ESCAPED[byte as usize] {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                put_byte(out, byte);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Write a value, if its type and size are ordinary.
///
/// Returns `None` for every other value, and if `out` would get longer than `longest`; then `out` has
/// a part of it. Types are compared exactly,
/// so that no code of a user's class runs.
pub fn put_value(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, longest: usize) -> Option<()> {
    Writer { items: MOST_ITEMS, longest }.put(out, value, MOST_LEVELS)
}

/// Return a value as JSON, of at most `longest` bytes; `None` if its type or size is not ordinary.
#[pyfunction]
pub fn dumps<'py>(value: &Bound<'py, PyAny>, longest: usize) -> Option<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(1024);
    put_value(&mut out, value, longest)?;
    Some(PyBytes::new(value.py(), &out))
}

struct Writer {
    /// The number of items that the value may still have.
    items: usize,
    /// The length that `out` may have. One text may be in a value many times.
    longest: usize,
}

impl Writer {
    fn put(&mut self, out: &mut Vec<u8>, value: &Bound<'_, PyAny>, levels: usize) -> Option<()> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            self.put_text(out, text.to_str().ok()?)?; // a lone surrogate is an error
        } else if let Ok(flag) = value.cast_exact::<PyBool>() {
            out.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
        } else if let Ok(number) = value.cast_exact::<PyInt>() {
            put_integer(out, number.extract().ok()?);
        } else if value.is_none() {
            out.extend_from_slice(b"null");
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            put_float(out, number.value())?;
        } else if levels == 0 {
            return None;
        } else if let Ok(map) = value.cast_exact::<PyDict>() {
            self.put_map(out, map, levels)?;
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.put_items(out, list.len(), list.iter(), levels)?;
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.put_items(out, tuple.len(), tuple.iter(), levels)?;
        } else {
            return None;
        }
        Some(())
    }

    fn put_text(&self, out: &mut Vec<u8>, text: &str) -> Option<()> {
        if text.len() > self.longest.saturating_sub(out.len()) {
            return None;
        }
        put_text(out, text);
        Some(())
    }

    fn put_map(&mut self, out: &mut Vec<u8>, map: &Bound<'_, PyDict>, levels: usize) -> Option<()> {
        self.items = self.items.checked_sub(map.len())?;
        out.push(b'{');
        for (number, (key, item)) in map.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            let key = key.cast_exact::<PyString>().ok()?;
            let key = key.to_str().ok()?;
            if key == TAG {
                return None;
            }
            self.put_text(out, key)?;
            out.push(b':');
            self.put(out, &item, levels - 1)?;
        }
        out.push(b'}');
        Some(())
    }

    fn put_items<'py>(
        &mut self,
        out: &mut Vec<u8>,
        length: usize,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        levels: usize,
    ) -> Option<()> {
        self.items = self.items.checked_sub(length)?;
        out.push(b'[');
        for (number, item) in items.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            self.put(out, &item, levels - 1)?;
        }
        out.push(b']');
        Some(())
    }
}

/// Write a byte in hexadecimal.
pub fn put_byte(out: &mut Vec<u8>, byte: u8) {
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

/// Write an integer.
pub fn put_integer(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_float(out: &mut Vec<u8>, number: f64) -> Option<()> {
    if !number.is_finite() {
        return None;
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    Some(())
}
