//! The part of protobuf's wire format that OTLP uses: values and attributes, from JSON.
//!
//! Source: the protocol buffers' encoding guide, and `opentelemetry/proto/common/v1/common.proto`.

use jiter::{Jiter, Peek};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::reading::{read_number, read_object, Number};

/// The maximum nesting of containers that is encoded here.
pub const LEVELS: usize = 30;

/// Write a number.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Return the number of bytes that a number takes.
fn varint_length(number: usize) -> usize {
    (64 - (number as u64 | 1).leading_zeros() as usize).div_ceil(7)
}

/// Write a field that is a message, a text or bytes.
pub fn put_field(out: &mut Vec<u8>, tag: u8, message: &[u8]) {
    out.push(tag);
    put_varint(out, message.len() as u64);
    out.extend_from_slice(message);
}

/// Return a field that is a message, as bytes of Python, copied once.
pub fn field_of<'py>(py: Python<'py>, tag: u8, message: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let mut head = Vec::with_capacity(8);
    head.push(tag);
    put_varint(&mut head, message.len() as u64);
    PyBytes::new_with(py, head.len() + message.len(), |bytes| {
        bytes[..head.len()].copy_from_slice(&head);
        bytes[head.len()..].copy_from_slice(message);
        Ok(())
    })
}

/// Return the number of bytes that such a field takes.
fn field_length(message: usize) -> usize {
    1 + varint_length(message) + message
}

/// Write a `KeyValue` as a field whose value is a text.
pub fn put_text_attribute(out: &mut Vec<u8>, tag: u8, key: &[u8], text: &[u8]) {
    let value = field_length(text.len());
    out.push(tag);
    put_varint(out, (field_length(key.len()) + field_length(value)) as u64);
    put_field(out, 0x0a, key);
    out.push(0x12);
    put_varint(out, value as u64);
    put_field(out, 0x0a, text);
}

/// Write a `KeyValue` as a field whose value is an encoded `AnyValue`.
pub fn put_attribute(out: &mut Vec<u8>, tag: u8, key: &[u8], value: &[u8]) {
    out.push(tag);
    put_varint(out, (field_length(key.len()) + field_length(value.len())) as u64);
    put_field(out, 0x0a, key);
    put_field(out, 0x12, value);
}

/// Write the attributes of a JSON object as fields, each passed to `keep` first.
///
/// `keep` gets the name and, for a text, the text; an attribute for which it returns false is left
/// out. Returns `None` if there is a value that is not encoded here, such as an integer beyond 64
/// bits.
pub fn put_attributes(
    out: &mut Vec<u8>,
    tag: u8,
    json: &mut Jiter<'_>,
    mut keep: impl FnMut(&str, Option<&str>) -> Option<bool>,
) -> Option<()> {
    let mut value = Vec::new();
    read_object(json, |json, key, peek| {
        if peek == Peek::String {
            let text = json.known_str().ok()?;
            if keep(key, Some(text))? {
                put_text_attribute(out, tag, key.as_bytes(), text.as_bytes());
            }
        } else if keep(key, None)? {
            value.clear();
            put_any_value(&mut value, json, peek, LEVELS)?;
            put_attribute(out, tag, key.as_bytes(), &value);
        } else {
            json.known_skip(peek).ok()?;
        }
        Some(())
    })
}

/// Write the content of an `AnyValue`; `None` for values that are not encoded here.
pub fn put_any_value(
    out: &mut Vec<u8>,
    json: &mut Jiter<'_>,
    peek: Peek,
    levels: usize,
) -> Option<()> {
    match peek {
        Peek::String => put_field(out, 0x0a, json.known_str().ok()?.as_bytes()),
        Peek::True | Peek::False => {
            out.extend_from_slice(&[0x10, u8::from(json.known_bool(peek).ok()?)]);
        }
        Peek::Null => json.known_null().ok()?,
        Peek::Array => {
            let levels = levels.checked_sub(1)?;
            let (mut items, mut item) = (Vec::new(), Vec::new());
            let mut next = json.known_array().ok()?;
            while let Some(peek) = next {
                item.clear();
                put_any_value(&mut item, json, peek, levels)?;
                put_field(&mut items, 0x0a, &item);
                next = json.array_step().ok()?;
            }
            put_field(out, 0x2a, &items);
        }
        Peek::Object => {
            let levels = levels.checked_sub(1)?;
            let (mut items, mut item) = (Vec::new(), Vec::new());
            read_object(json, |json, key, peek| {
                item.clear();
                put_any_value(&mut item, json, peek, levels)?;
                put_attribute(&mut items, 0x0a, key.as_bytes(), &item);
                Some(())
            })?;
            put_field(out, 0x32, &items);
        }
        _ => match read_number(json, peek)? {
            Number::Integer(number) => {
                out.push(0x18);
                put_varint(out, number as u64);
            }
            Number::Float(number) => {
                out.push(0x21);
                out.extend_from_slice(&number.to_le_bytes());
            }
        },
    }
    Some(())
}
