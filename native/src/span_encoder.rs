//! OTLP spans from lines, as `wakelog.otel._span_encoder` encodes them.
//!
//! Source: `opentelemetry/proto/trace/v1/trace.proto`.

use jiter::{Jiter, Peek};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::protobuf::{field_of, put_attributes, put_field, put_varint};
use crate::reading::{is_tagged, read_id, read_integer, read_object, Seen};
use crate::times;

const SAMPLED: i64 = 1;
/// The bits for: it is known whether the parent is remote; and: it is remote.
const KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;
/// The kinds of spans on a line, in the order of the protocol, which begins with 1.
const KINDS: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];

const FIELDS: [&str; 7] =
    ["timestamp", "trace_id", "span_id", "trace_flags", "span", "body", "attributes"];
const ABOUT: [&str; 9] = [
    "name",
    "kind",
    "parent",
    "start",
    "status",
    "status_message",
    "dropped_attributes",
    "dropped_events",
    "dropped_links",
];

/// The fields of a span; attributes and events are encoded as they are read.
#[derive(Default)]
struct Span {
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
    flags: i64,
    ended: u64,
    began: u64,
    name: Option<String>,
    kind: usize,
    parent: Option<[u8; 8]>,
    remote: bool,
    status: Option<String>,
    status_message: Option<String>,
    attributes: Vec<u8>,
    events: Vec<u8>,
    dropped_attributes: i64,
    dropped_events: i64,
    dropped_links: i64,
}

/// Return the `spans` field of `ScopeSpans` for a line, with trace id and span id.
///
/// Returns `None` for a line that is not ordinary, such as that of a span with links.
#[pyfunction]
pub fn encode_span<'py>(py: Python<'py>, line: &[u8]) -> PyResult<Option<Bound<'py, PyTuple>>> {
    if is_tagged(line) {
        return Ok(None);
    }
    let Some((span, message)) = read(line).and_then(|span| {
        let message = message(&span)?;
        Some((span, message))
    }) else {
        return Ok(None);
    };
    let encoded: Bound<'py, PyBytes> = field_of(py, 0x12, &message)?;
    let trace_id = u128::from_be_bytes(span.trace_id.unwrap_or_default());
    let span_id = u64::from_be_bytes(span.span_id.unwrap_or_default());
    (encoded, trace_id, span_id).into_pyobject(py).map(Some)
}

fn read(line: &[u8]) -> Option<Span> {
    let (mut json, mut span, mut seen) = (Jiter::new(line), Span::default(), Seen::default());
    span.attributes.reserve(line.len());
    read_object(&mut json, |json, name, peek| {
        let known = seen.note(&FIELDS, name)?;
        match (name, peek) {
            ("timestamp", Peek::String) => span.ended = times::parse(json.known_str().ok()?)?,
            ("trace_id", Peek::String) => span.trace_id = Some(read_new_id(json)?),
            ("span_id", Peek::String) => span.span_id = Some(read_new_id(json)?),
            ("trace_flags", _) => span.flags = read_integer(json, peek)?,
            ("span", Peek::Object) => read_about(json, &mut span)?,
            ("attributes", Peek::Object) => {
                put_attributes(&mut span.attributes, 0x4a, json, |_, _| Some(true))?;
            }
            ("body", Peek::Object) => read_body(json, &mut span.events)?,
            ("salted", _) => return None,
            _ if known => return None, // a field with a value of another type
            _ => json.known_skip(peek).ok()?,
        }
        Some(())
    })?;
    json.finish().ok()?;
    Some(span)
}

fn read_about(json: &mut Jiter<'_>, span: &mut Span) -> Option<()> {
    let mut seen = Seen::default();
    read_object(json, |json, name, peek| {
        let known = seen.note(&ABOUT, name)?;
        match (name, peek) {
            ("name", Peek::String) => span.name = Some(json.known_str().ok()?.to_owned()),
            ("kind", Peek::String) => {
                let kind = json.known_str().ok()?;
                span.kind = KINDS.iter().position(|known| *known == kind)?;
            }
            ("start", Peek::String) => span.began = times::parse(json.known_str().ok()?)?,
            ("parent", Peek::Object) => (span.parent, span.remote) = read_parent(json)?,
            ("status", Peek::String) => span.status = Some(json.known_str().ok()?.to_owned()),
            ("status_message", Peek::String) => {
                span.status_message = Some(json.known_str().ok()?.to_owned());
            }
            ("dropped_attributes", _) => span.dropped_attributes = read_integer(json, peek)?,
            ("dropped_events", _) => span.dropped_events = read_integer(json, peek)?,
            ("dropped_links", _) => span.dropped_links = read_integer(json, peek)?,
            ("trace_state", _) => return None,
            _ if known => return None,
            _ => json.known_skip(peek).ok()?,
        }
        Some(())
    })
}

fn read_new_id<const SIZE: usize>(json: &mut Jiter<'_>) -> Option<[u8; SIZE]> {
    let mut id = [0; SIZE];
    read_id(json, &mut id)?;
    Some(id)
}

fn read_parent(json: &mut Jiter<'_>) -> Option<(Option<[u8; 8]>, bool)> {
    let (mut id, mut remote) = (None, false);
    read_object(json, |json, name, peek| {
        match (name, peek) {
            ("span_id", Peek::String) if id.is_none() => id = Some(read_new_id(json)?),
            ("remote", Peek::True | Peek::False) => remote = json.known_bool(peek).ok()?,
            ("span_id" | "remote", _) => return None,
            _ => json.known_skip(peek).ok()?,
        }
        Some(())
    })?;
    id.is_some().then_some((id, remote))
}

/// Encode the events in the body of a line, which has no links.
fn read_body(json: &mut Jiter<'_>, events: &mut Vec<u8>) -> Option<()> {
    read_object(json, |json, name, peek| {
        if name != "events" || peek != Peek::Array || !events.is_empty() {
            return None;
        }
        let mut next = json.known_array().ok()?;
        while next.is_some() {
            put_field(events, 0x5a, &read_event(json)?);
            next = json.array_step().ok()?;
        }
        Some(())
    })
}

fn read_event(json: &mut Jiter<'_>) -> Option<Vec<u8>> {
    let (mut time, mut dropped) = (0, 0);
    let (mut event_name, mut attributes, mut seen) = (None, Vec::new(), Seen::default());
    read_object(json, |json, name, peek| {
        seen.note(&["name", "timestamp", "attributes", "dropped_attributes"], name)?;
        match (name, peek) {
            ("name", Peek::String) => event_name = Some(json.known_str().ok()?.to_owned()),
            ("timestamp", _) => time = read_integer(json, peek)?,
            ("attributes", Peek::Object) => {
                put_attributes(&mut attributes, 0x1a, json, |_, _| Some(true))?;
            }
            ("dropped_attributes", _) => dropped = read_integer(json, peek)?,
            _ => return None,
        }
        Some(())
    })?;
    let mut event = Vec::with_capacity(attributes.len() + 64);
    if time < 0 || dropped < 0 {
        return None;
    }
    if time != 0 {
        event.push(0x09);
        event.extend_from_slice(&time.to_le_bytes());
    }
    put_text(&mut event, 0x12, &event_name?);
    event.extend_from_slice(&attributes);
    put_count(&mut event, 0x20, dropped)?;
    Some(event)
}

/// Assemble a span, in the order in which the encoder in Python does.
fn message(span: &Span) -> Option<Vec<u8>> {
    if span.flags & SAMPLED == 0 || span.flags < 0 || span.began == 0 || span.ended == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(span.attributes.len() + span.events.len() + 256);
    put_field(&mut out, 0x0a, span.trace_id.as_ref()?);
    put_field(&mut out, 0x12, span.span_id.as_ref()?);
    if let Some(parent) = &span.parent {
        put_field(&mut out, 0x22, parent);
    }
    put_text(&mut out, 0x2a, span.name.as_ref()?);
    out.extend_from_slice(&[0x30, span.kind as u8 + 1, 0x39]);
    out.extend_from_slice(&span.began.to_le_bytes());
    out.push(0x41);
    out.extend_from_slice(&span.ended.to_le_bytes());
    out.extend_from_slice(&span.attributes);
    put_count(&mut out, 0x50, span.dropped_attributes)?;
    out.extend_from_slice(&span.events);
    put_count(&mut out, 0x60, span.dropped_events)?;
    put_count(&mut out, 0x70, span.dropped_links)?;
    put_field(&mut out, 0x7a, &status(span)?);
    out.extend_from_slice(&[0x85, 0x01]);
    out.extend_from_slice(&(KNOWN | if span.remote { REMOTE } else { 0 }).to_le_bytes());
    Some(out)
}

/// Encode a status; only an error has a message.
fn status(span: &Span) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match span.status.as_deref() {
        None => {}
        Some("OK") => out.extend_from_slice(&[0x18, 1]),
        Some("ERROR") => {
            put_text(&mut out, 0x12, span.status_message.as_deref().unwrap_or_default());
            out.extend_from_slice(&[0x18, 2]);
        }
        Some(_) => return None,
    }
    Some(out)
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    if !text.is_empty() {
        put_field(out, tag, text.as_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, tag: u8, count: i64) -> Option<()> {
    let count: u64 = count.try_into().ok()?;
    if count != 0 {
        out.push(tag);
        put_varint(out, count);
    }
    Some(())
}
