//! Whether a line can be decoded and its record rebuilt, as `wakelog.otel._log_encoder` checks it.

use std::sync::LazyLock;

use jiter::{Jiter, Peek};
use memchr::memmem::Finder;
use pyo3::prelude::*;

use crate::log_encoder::{FIELDS, MOST_SEVERE};
use crate::protobuf::LEVELS;
use crate::reading::{is_tagged, read_id, read_integer, read_object, Seen};
use crate::times;

/// What begins the code of a character in a text.
static CODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u"));

/// Return whether a line is ordinary; the check in Python finds more lines that are.
#[pyfunction]
pub fn is_ordinary(line: &[u8]) -> bool {
    !is_tagged(line)
        && !may_have_surrogates(line)
        && std::str::from_utf8(line).is_ok()
        && read(line).is_some()
}

/// Return whether a text may have surrogates; lone ones are not JSON, which skipping does not check.
fn may_have_surrogates(line: &[u8]) -> bool {
    CODE.find_iter(line).any(|at| matches!(line.get(at + 2), Some(b'd' | b'D')))
}

fn read(line: &[u8]) -> Option<()> {
    let mut json = Jiter::new(line);
    let mut seen = Seen::default();
    read_object(&mut json, |json, name, peek| {
        seen.note(&FIELDS, name)?;
        match (name, peek) {
            ("dropped_attributes_count" | "event", _) => None,
            ("salted", Peek::Array) => read_salted(json),
            ("salted", _) => None,
            ("timestamp" | "observed_timestamp", Peek::String) => {
                times::parse(json.known_str().ok()?).map(drop)
            }
            ("severity_number", _) => {
                (0..=MOST_SEVERE).contains(&read_integer(json, peek)?).then_some(())
            }
            ("trace_flags", _) => u32::try_from(read_integer(json, peek)?).ok().map(drop),
            ("trace_id", Peek::String) => read_id(json, &mut [0; 16]),
            ("span_id", Peek::String) => read_id(json, &mut [0; 8]),
            ("timestamp" | "observed_timestamp" | "trace_id" | "span_id", _) => None,
            ("event_name" | "severity_text", kind) if kind != Peek::String => None,
            ("attributes", kind) if kind != Peek::Object => None,
            _ => skip(json, peek, LEVELS),
        }
    })?;
    json.finish().ok()
}

/// Read a salted part: a size, a salt and the content, or what its erasure has left.
fn read_salted(json: &mut Jiter<'_>) -> Option<()> {
    let levels = LEVELS - 2;
    let peek = json.known_array().ok()??;
    skip(json, peek, levels)?;
    let peek = json.array_step().ok()??;
    skip(json, peek, levels)?;
    match json.array_step().ok()?? {
        Peek::String => json.known_skip(Peek::String).ok()?,
        Peek::Object => read_object(json, |json, name, peek| {
            (name != "attributes" || peek == Peek::Object).then_some(())?;
            skip(json, peek, levels)
        })?,
        _ => return None,
    }
    json.array_step().ok()?.is_none().then_some(())
}

/// Read a value that is not looked at; `None` if a number in it is beyond the largest one.
fn skip(json: &mut Jiter<'_>, peek: Peek, levels: usize) -> Option<()> {
    match peek {
        Peek::Array => {
            let levels = levels.checked_sub(1)?;
            let mut next = json.known_array().ok()?;
            while let Some(peek) = next {
                skip(json, peek, levels)?;
                next = json.array_step().ok()?;
            }
            Some(())
        }
        Peek::Object => {
            let levels = levels.checked_sub(1)?;
            let mut is_there = json.known_object().ok()?.is_some();
            while is_there {
                let peek = json.peek().ok()?;
                skip(json, peek, levels)?;
                is_there = json.next_key().ok()?.is_some();
            }
            Some(())
        }
        Peek::String | Peek::Null | Peek::True | Peek::False => json.known_skip(peek).ok(),
        _ => json.known_float(peek).ok()?.is_finite().then_some(()),
    }
}
