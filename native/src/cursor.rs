//! Lines of a segment, as `wakelog.journal.Cursor` takes them.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::json::HEX;

const BEGINS_A_RECORD: &[u8] = b"{\"id\":\"";
const CRC: &[u8] = b",\"crc\":\"";
/// The length of `,"crc":"00000000"}`.
pub const CRC_LENGTH: usize = CRC.len() + 10;
/// What follows `seq` on the line of a span's start, and where it is looked for.
static START: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new(b",\"signal\":\"span_start\""));
const LONGEST_BEGINNING: usize = 160;
/// What marks a value that was moved out of a line.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"$wakelog\":\"blob\""));

/// Take intact lines of a block, up to the first that is not ordinary.
///
/// `crc` is the checksum of the line before, `seq` its number, `spans` whether lines may be those of
/// starts, which are skipped. At most `most` lines are taken, and none after `most_bytes`. `made`
/// makes an entry from its items: the line, the resource, the writer, the mark before the block, the
/// number, and the offset of the next line in the segment, in which the block begins at `begins`.
///
/// Appends the entries to a list, and returns the last number, the offset after the last line, skipped ones included, and that line's
/// checksum.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // the state of one caller, which is not an object of its own
pub fn take_lines<'py>(
    py: Python<'py>,
    block: &[u8],
    mut start: usize,
    mut crc: u32,
    mut seq: u64,
    spans: bool,
    most: usize,
    most_bytes: usize,
    entries: &Bound<'py, PyList>,
    made: &Bound<'py, PyAny>,
    resource: &Bound<'py, PyAny>,
    writer: &Bound<'py, PyAny>,
    mark: &Bound<'py, PyAny>,
    begins: usize,
) -> PyResult<(u64, usize, u32)> {
    let stop = start.saturating_add(most_bytes);
    let most = entries.len().saturating_add(most);
    while start < stop && entries.len() < most {
        let Some(line) = block.get(start..).and_then(|rest| Some(&rest[..memchr(b'\n', rest)?]))
        else {
            break;
        };
        let Some(added) = verified(line, crc) else {
            break;
        };
        let end = start + line.len() + 1;
        if !(spans && is_start(line)) {
            if !is_next(line, seq + 1) || MARK.find(line).is_some() {
                break;
            }
            seq += 1;
            let items = (PyBytes::new(py, line), resource, writer, mark, seq, begins + end);
            entries.append(made.call1((items,))?)?;
        }
        (start, crc) = (end, added);
    }
    Ok((seq, start, crc))
}

/// Return the checksum of a line, `None` if it is not the one that the line states.
fn verified(line: &[u8], previous: u32) -> Option<u32> {
    let (body, stated) = line.split_at_checked(line.len().checked_sub(CRC_LENGTH)?)?;
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    hasher.update(body);
    let crc = hasher.finalize();
    let mut expected = [0; CRC_LENGTH];
    expected[..CRC.len()].copy_from_slice(CRC);
    for (at, byte) in crc.to_be_bytes().into_iter().enumerate() {
        expected[CRC.len() + 2 * at] = HEX[usize::from(byte >> 4)];
        expected[CRC.len() + 2 * at + 1] = HEX[usize::from(byte & 15)];
    }
    expected[CRC_LENGTH - 2..].copy_from_slice(b"\"}");
    (stated == expected).then_some(crc)
}

/// Return whether a line is a whole record with a given number.
fn is_next(line: &[u8], seq: u64) -> bool {
    let Some(rest) = line.strip_prefix(BEGINS_A_RECORD) else {
        return false;
    };
    let Some(end) = memchr(b'"', rest) else {
        return false;
    };
    let mut digits = itoa::Buffer::new();
    rest[end..]
        .strip_prefix(b"\",\"seq\":")
        .and_then(|rest| rest.strip_prefix(digits.format(seq).as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&b','))
}

/// Return whether a line is the start of a span.
fn is_start(line: &[u8]) -> bool {
    START.find(&line[..line.len().min(LONGEST_BEGINNING)]).is_some_and(|at| at > 0)
}
