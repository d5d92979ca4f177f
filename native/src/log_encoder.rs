//! OTLP log records from lines, as `wakelog.otel._log_encoder` encodes them.
//!
//! Source: `opentelemetry/proto/logs/v1/logs.proto`.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use jiter::{Jiter, Peek};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::protobuf::{
    field_of, put_any_value, put_attribute, put_attributes, put_field, put_text_attribute,
    put_varint, LEVELS,
};
use crate::reading::{is_tagged, read_id, read_integer, read_object, Seen};
use crate::times;

pub const MOST_SEVERE: i64 = 24;
const MOST_BODIES: usize = 256;
const LONGEST_NAMES: usize = 256;
/// How many bytes of attributes have place without more allocations.
const MOST_AT_FIRST: usize = 4096;
/// The same for attributes of the salted part.
const MOST_SALTED_AT_FIRST: usize = 512;
/// A byte between names, which UTF-8 does not have.
const SEPARATOR: u8 = 0xFF;

/// Encodes log records for OTLP.
#[pyclass(frozen)]
pub struct LogEncoder {
    events: bool,
    content: HashSet<String>,
    /// Attributes that are added here, and so must not be among a record's own.
    uid: String,
    writer_id: String,
    seq: String,
    replayed: String,
    /// The attributes that may name the subject of one of Wakelog's own events.
    names: Vec<String>,
    /// Returns the body of one of Wakelog's own events, for its name and attributes.
    body_of: Py<PyAny>,
    /// Cache of these bodies by the names that they are made from.
    bodies: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// The fields of a line, besides its attributes and body, which are encoded as they are read.
#[derive(Default)]
struct Fields {
    id: Option<String>,
    happened: Option<u64>,
    observed: Option<u64>,
    event_name: Option<String>,
    severity: i64,
    severity_text: Option<String>,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u32,
    body: Vec<u8>,
    attributes: Vec<u8>,
    names: Vec<Option<String>>,
    /// Names and encoded attributes of the salted part, which belong behind the others.
    salted_names: Vec<String>,
    salted_attributes: Vec<u8>,
}

#[pymethods]
impl LogEncoder {
    #[new]
    #[allow(clippy::too_many_arguments)] // the names of the semantic conventions, from one caller
    fn new(
        events: bool,
        content: HashSet<String>,
        uid: String,
        writer_id: String,
        seq: String,
        replayed: String,
        names: Vec<String>,
        body_of: Py<PyAny>,
    ) -> Self {
        let bodies = Mutex::default();
        Self { events, content, uid, writer_id, seq, replayed, names, body_of, bodies }
    }

    /// Return the `log_records` field of `ScopeLogs` for a line, `None` if it is not ordinary.
    pub fn encode<'py>(
        &self,
        py: Python<'py>,
        line: &[u8],
        seq: u64,
        writer: &str,
        own: bool,
        replayed: bool,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        if is_tagged(line) {
            return Ok(None);
        }
        let Some(mut fields) = self.read(line, own) else {
            return Ok(None);
        };
        if own
            && fields.body.is_empty()
            && fields.event_name.as_ref().is_some_and(|n| !n.is_empty())
        {
            let event_name = fields.event_name.as_deref().unwrap_or_default();
            fields.body = self.body(py, event_name, &fields.names)?;
        }
        match self.message(&fields, seq, writer, replayed) {
            Some(message) => field_of(py, 0x12, &message).map(Some),
            None => Ok(None),
        }
    }
}

impl LogEncoder {
    /// Read a line; `None` if anything on it is not ordinary.
    fn read(&self, line: &[u8], own: bool) -> Option<Fields> {
        let mut json = Jiter::new(line);
        let attributes = Vec::with_capacity(line.len().min(MOST_AT_FIRST));
        let names = vec![None; self.names.len()];
        let mut fields = Fields { attributes, names, ..Fields::default() };
        let mut seen = Seen::default();
        read_object(&mut json, |json, name, peek| {
            let known = seen.note(&FIELDS, name)?;
            match (name, peek) {
                ("dropped_attributes_count" | "event", _) => return None,
                ("salted", Peek::Array) => {
                    // Whether names are there twice is known if this part comes first.
                    if !fields.attributes.is_empty() {
                        return None;
                    }
                    self.read_salted(json, &mut fields, &mut seen, own)?;
                }
                ("attributes", Peek::Object) => self.read_attributes(json, &mut fields, own)?,
                ("body", _) => read_body(json, peek, &mut fields.body)?,
                ("id", Peek::String) => fields.id = Some(json.known_str().ok()?.to_owned()),
                ("timestamp", Peek::String) => {
                    fields.happened = Some(times::parse(json.known_str().ok()?)?);
                }
                ("observed_timestamp", Peek::String) => {
                    fields.observed = Some(times::parse(json.known_str().ok()?)?);
                }
                ("event_name", Peek::String) => {
                    fields.event_name = Some(json.known_str().ok()?.to_owned());
                }
                ("severity_text", Peek::String) => {
                    fields.severity_text = Some(json.known_str().ok()?.to_owned());
                }
                ("trace_id", Peek::String) => read_id(json, &mut fields.trace_id)?,
                ("span_id", Peek::String) => read_id(json, &mut fields.span_id)?,
                ("severity_number", _) => fields.severity = read_integer(json, peek)?,
                ("trace_flags", _) => fields.flags = read_integer(json, peek)?.try_into().ok()?,
                _ if known => return None, // a field with a value of another type
                _ => json.known_skip(peek).ok()?,
            }
            Some(())
        })?;
        json.finish().ok()?;
        Some(fields)
    }

    fn read_attributes(&self, json: &mut Jiter<'_>, fields: &mut Fields, own: bool) -> Option<()> {
        let Fields { attributes, names, salted_names, .. } = fields;
        put_attributes(attributes, 0x32, json, |key, text| {
            if salted_names.iter().any(|name| name == key) {
                return None;
            }
            self.is_kept(key, text, names, own)
        })
    }

    /// Read the salted part, a size, a salt and the content; erased content is not ordinary.
    fn read_salted(
        &self,
        json: &mut Jiter<'_>,
        fields: &mut Fields,
        seen: &mut Seen,
        own: bool,
    ) -> Option<()> {
        let peek = json.known_array().ok()??;
        read_integer(json, peek)?;
        let peek = json.array_step().ok()??;
        (peek == Peek::String).then_some(())?;
        json.known_str().ok()?;
        let peek = json.array_step().ok()??;
        (peek == Peek::Object).then_some(())?;
        fields.salted_attributes.reserve(MOST_SALTED_AT_FIRST);
        let mut inner = Seen::default();
        let mut has_body = false;
        read_object(json, |json, name, peek| {
            inner.note(&FIELDS, name)?;
            match (name, peek) {
                ("attributes", Peek::Object) => {
                    let Fields { salted_attributes, salted_names, names, .. } = &mut *fields;
                    put_attributes(salted_attributes, 0x32, json, |key, text| {
                        salted_names.push(key.to_owned());
                        self.is_kept(key, text, names, own)
                    })
                }
                ("body", _) => {
                    has_body = true;
                    seen.note(&FIELDS, name)?;
                    read_body(json, peek, &mut fields.body)
                }
                _ => None,
            }
        })?;
        if own && !self.events && !has_body {
            fields.salted_attributes.clear();
            fields.salted_names.clear();
            fields.names.fill(None);
        }
        json.array_step().ok()?.is_none().then_some(())
    }

    /// Return whether an attribute is exported, and note it if it may name an event's subject.
    fn is_kept(
        &self,
        key: &str,
        text: Option<&str>,
        names: &mut [Option<String>],
        own: bool,
    ) -> Option<bool> {
        if key == self.uid || key == self.writer_id || key == self.seq || key == self.replayed {
            return None;
        }
        if own && !self.events && self.content.contains(key) {
            return Some(false);
        }
        if own {
            if let Some(number) = self.names.iter().position(|name| name == key) {
                names[number] = Some(text?.to_owned()); // another value is shown as Python shows it
            }
        }
        Some(true)
    }

    /// Assemble a record, in the order in which the encoder in Python does.
    fn message(&self, fields: &Fields, seq: u64, writer: &str, replayed: bool) -> Option<Vec<u8>> {
        let happened = fields.happened;
        let observed = fields.observed.or(happened)?;
        if happened == Some(0) || observed == 0 || !(0..=MOST_SEVERE).contains(&fields.severity) {
            return None;
        }
        let id = fields.id.as_ref()?;
        let content = fields.body.len() + fields.salted_attributes.len();
        let parts = fields.attributes.len() + content + id.len() + writer.len();
        let mut out = Vec::with_capacity(parts + 256);
        if fields.severity != 0 {
            out.extend_from_slice(&[0x10, fields.severity as u8]);
        }
        for (tag, text) in [(0x1a, &fields.severity_text), (0x62, &fields.event_name)] {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                put_field(&mut out, tag, text.as_bytes());
            }
        }
        if let Some(happened) = happened {
            out.push(0x09);
            out.extend_from_slice(&happened.to_le_bytes());
        }
        out.push(0x59);
        out.extend_from_slice(&observed.to_le_bytes());
        if fields.trace_id != [0; 16] {
            put_field(&mut out, 0x4a, &fields.trace_id);
        }
        if fields.span_id != [0; 8] {
            put_field(&mut out, 0x52, &fields.span_id);
        }
        if fields.flags != 0 {
            out.push(0x45);
            out.extend_from_slice(&fields.flags.to_le_bytes());
        }
        if fields.body.is_empty() {
            out.extend_from_slice(&[0x2a, 0x00]);
        }
        out.extend_from_slice(&fields.body);
        out.extend_from_slice(&fields.attributes);
        out.extend_from_slice(&fields.salted_attributes);
        put_text_attribute(&mut out, 0x32, self.uid.as_bytes(), id.as_bytes());
        put_text_attribute(&mut out, 0x32, self.writer_id.as_bytes(), writer.as_bytes());
        let mut number = vec![0x18];
        put_varint(&mut number, seq);
        put_attribute(&mut out, 0x32, self.seq.as_bytes(), &number);
        if replayed {
            put_attribute(&mut out, 0x32, self.replayed.as_bytes(), &[0x10, 0x01]);
        }
        Some(out)
    }

    /// Return the body of one of Wakelog's own events as a field, usually from the cache.
    fn body(
        &self,
        py: Python<'_>,
        event_name: &str,
        names: &[Option<String>],
    ) -> PyResult<Vec<u8>> {
        let mut key = event_name.as_bytes().to_vec();
        for name in names {
            key.push(SEPARATOR);
            key.extend_from_slice(name.as_deref().unwrap_or_default().as_bytes());
        }
        // A thread that panicked cannot have left a half-written body.
        let held = || self.bodies.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = held().get(&key) {
            return Ok(known.clone());
        }
        let attributes = PyDict::new(py);
        for (name, value) in self.names.iter().zip(names) {
            attributes.set_item(name, value)?;
        }
        let text: String = self.body_of.call1(py, (event_name, attributes))?.extract(py)?;
        let (mut value, mut written) = (Vec::new(), Vec::new());
        put_field(&mut value, 0x0a, text.as_bytes());
        put_field(&mut written, 0x2a, &value);
        if key.len() <= LONGEST_NAMES {
            let mut bodies = held();
            if bodies.len() >= MOST_BODIES {
                bodies.clear();
            }
            bodies.insert(key, written.clone());
        }
        Ok(written)
    }
}

fn read_body(json: &mut Jiter<'_>, peek: Peek, body: &mut Vec<u8>) -> Option<()> {
    if peek == Peek::Null {
        return json.known_null().ok();
    }
    let mut value = Vec::new();
    put_any_value(&mut value, json, peek, LEVELS)?;
    put_field(body, 0x2a, &value);
    Some(())
}

/// The fields that a line may have and that are read here.
pub const FIELDS: [&str; 12] = [
    "id",
    "salted",
    "timestamp",
    "observed_timestamp",
    "event_name",
    "severity_number",
    "severity_text",
    "body",
    "trace_id",
    "span_id",
    "trace_flags",
    "attributes",
];
