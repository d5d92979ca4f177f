//! Lines of spans, as `wakelog.otel._span_fields` encodes them.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString, PyTuple, PyType};

use crate::line::{put_id, put_scope};
use crate::span_body::{put_count, Body};
use crate::{json, times};

/// The length of a line's id: the trace id in hexadecimal, a hyphen, and the span id.
const ID_LENGTH: usize = TRACE_DIGITS + 1 + 16;
const TRACE_DIGITS: usize = 32;
const SAMPLED: u32 = 1;
const KINDS: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];
const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// Where the SDK's objects have their values: `wakelog.otel._span_storage.SpanStorage`.
///
/// Reading these instead of the public properties saves a call of Python for each, and copies.
#[derive(FromPyObject)]
pub struct Storage {
    pub name: Py<PyString>,
    pub context: Py<PyString>,
    pub parent: Py<PyString>,
    pub resource: Py<PyString>,
    pub attributes: Py<PyString>,
    pub events: Py<PyString>,
    pub links: Py<PyString>,
    pub kind: Py<PyString>,
    pub status: Py<PyString>,
    pub start_time: Py<PyString>,
    pub end_time: Py<PyString>,
    pub instrumentation_scope: Py<PyString>,
    pub status_code: Py<PyString>,
    pub description: Py<PyString>,
    /// The dict of bounded attributes, and the queue of a bounded list.
    pub held: Py<PyString>,
    pub queue: Py<PyString>,
    /// Of an event, and of a link.
    pub event_name: Py<PyString>,
    pub event_time: Py<PyString>,
    pub event_attributes: Py<PyString>,
    pub link_context: Py<PyString>,
    pub link_attributes: Py<PyString>,
    /// For each class of spans whether its objects have their values there.
    pub classes: Py<PyAny>,
}

/// The SDK's classes, whose objects are ordinary; those of subclasses are not.
#[derive(FromPyObject)]
pub struct Classes {
    pub span_kind: Py<PyType>,
    pub status_code: Py<PyType>,
    pub status: Py<PyType>,
    pub span_context: Py<PyType>,
    pub bounded_attributes: Py<PyType>,
    pub bounded_list: Py<PyType>,
    pub event: Py<PyType>,
    pub link: Py<PyType>,
    /// The kind and the status of most spans.
    pub internal: Py<PyAny>,
    pub unset: Py<PyAny>,
    /// The trace state of contexts without one.
    pub no_state: Py<PyAny>,
}

/// Encodes the middle parts of lines of spans.
#[pyclass(frozen)]
pub struct SpanLineEncoder {
    at: Storage,
    sdk: Classes,
    /// The encoded scopes by the scope's id, and what returns, and adds, that of a span.
    scopes: Py<PyDict>,
    scope_of: Py<PyAny>,
}

/// A span's id, the id of its line, the middle part of the line, and the SDK's resource.
type Encoded<'py> =
    (Bound<'py, PyInt>, Bound<'py, PyString>, Bound<'py, PyBytes>, Bound<'py, PyAny>);

#[pymethods]
impl SpanLineEncoder {
    #[new]
    fn new(at: Storage, sdk: Classes, scopes: Py<PyDict>, scope_of: Py<PyAny>) -> Self {
        Self { at, sdk, scopes, scope_of }
    }

    /// Encode the line of a span's start, or of its end.
    ///
    /// Returns `None` for a span that is not sampled, or not ordinary, such as one with a trace
    /// state, and if the middle part would be longer than `longest`.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        span: &Bound<'py, PyAny>,
        ended: bool,
        longest: usize,
    ) -> PyResult<Option<Encoded<'py>>> {
        if !self.at.classes.bind(py).get_item(span.get_type())?.is_truthy()? {
            return Ok(None);
        }
        let context = span.getattr(self.at.context.bind(py))?;
        let Some(context) = context_of(&self.sdk, &context)? else {
            return Ok(None);
        };
        if context.flags & SAMPLED == 0 || context.remote || context.has_state {
            return Ok(None);
        }
        let id = context.line_id();
        let mut out = Vec::with_capacity(1024);
        let line = Line { at: &self.at, sdk: &self.sdk, py, span, context, id: &id, longest };
        if line.put(&mut out, ended)?.is_none() {
            return Ok(None);
        }
        self.put_scope(&mut out, span)?;
        if out.len() > longest {
            return Ok(None);
        }
        let id = PyString::from_bytes(py, &id)?;
        let resource = span.getattr(self.at.resource.bind(py))?;
        Ok(Some((line.context.span, id, PyBytes::new(py, &out), resource)))
    }
}

impl SpanLineEncoder {
    fn put_scope(&self, out: &mut Vec<u8>, span: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = span.py();
        let scope = span.getattr(self.at.instrumentation_scope.bind(py))?;
        put_scope(out, span, &scope, self.scopes.bind(py), &self.scope_of)
    }
}

/// The values of a `SpanContext`.
pub struct Context<'py> {
    trace_id: u128,
    span_id: u64,
    /// The span id as an object of Python.
    span: Bound<'py, PyInt>,
    flags: u32,
    remote: bool,
    pub has_state: bool,
}

impl Context<'_> {
    fn line_id(&self) -> [u8; ID_LENGTH] {
        let mut id = [b'-'; ID_LENGTH];
        put_digits(&mut id[..TRACE_DIGITS], &self.trace_id.to_be_bytes());
        put_digits(&mut id[TRACE_DIGITS + 1..], &self.span_id.to_be_bytes());
        id
    }
}

fn put_digits(digits: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = json::HEX[usize::from(byte >> 4)];
        pair[1] = json::HEX[usize::from(byte & 15)];
    }
}

/// Return the values of a context, which is a tuple; `None` for one that is not ordinary.
pub fn context_of<'py>(sdk: &Classes, given: &Bound<'py, PyAny>) -> PyResult<Option<Context<'py>>> {
    let py = given.py();
    if !given.get_type().is(sdk.span_context.bind(py)) {
        return Ok(None);
    }
    let Ok(items) = given.cast::<PyTuple>() else {
        return Ok(None);
    };
    let Some((trace_id, span_id, span)) = ids_of(items) else {
        return Ok(None);
    };
    let Some(flags) = flags_of(&items.get_item(3)?) else {
        return Ok(None);
    };
    let state = items.get_item(4)?;
    let has_state = !state.is(sdk.no_state.bind(py)) && state.is_truthy()?;
    let remote = items.get_item(2)?.is_truthy()?;
    Ok(Some(Context { trace_id, span_id, span, flags, remote, has_state }))
}

fn ids_of<'py>(items: &Bound<'py, PyTuple>) -> Option<(u128, u64, Bound<'py, PyInt>)> {
    let trace_id = items.get_item(0).ok()?.cast_exact::<PyInt>().ok()?.extract().ok()?;
    let span = items.get_item(1).ok()?.cast_into_exact::<PyInt>().ok()?;
    Some((trace_id, span.extract().ok()?, span))
}

/// A line that is being written. Its methods return `None` for what is not ordinary.
struct Line<'a, 'py> {
    at: &'a Storage,
    sdk: &'a Classes,
    py: Python<'py>,
    span: &'a Bound<'py, PyAny>,
    context: Context<'py>,
    /// The id of the line.
    id: &'a [u8; ID_LENGTH],
    longest: usize,
}

impl<'py> Line<'_, 'py> {
    fn put(&self, out: &mut Vec<u8>, ended: bool) -> PyResult<Option<()>> {
        let body = Body { at: self.at, sdk: self.sdk, longest: self.longest };
        let Some(events) = body.items_of(&self.get(&self.at.events)?) else {
            return Ok(None);
        };
        let Some(links) = body.items_of(&self.get(&self.at.links)?) else {
            return Ok(None);
        };
        let began = self.get(&self.at.start_time)?;
        if ended {
            let time = self.get(&self.at.end_time)?;
            if self.put_head(out, b",\"signal\":\"span\"", &time).is_none()
                || self.put_about(out)?.is_none()
                || put_time(out, b",\"start\":\"", &began).is_none()
                || self.put_status(out, &self.get(&self.at.status)?)?.is_none()
            {
                return Ok(None);
            }
        } else if self.put_head(out, b",\"signal\":\"span_start\"", &began).is_none()
            || self.put_about(out)?.is_none()
        {
            return Ok(None);
        }
        let Some(attributes) = body.attributes_of(&self.get(&self.at.attributes)?) else {
            return Ok(None);
        };
        put_count(out, b",\"dropped_attributes\":", attributes.dropped);
        put_count(out, b",\"dropped_events\":", events.dropped);
        put_count(out, b",\"dropped_links\":", links.dropped);
        out.push(b'}');
        if body.put(out, &events.items, &links.items).is_none() {
            return Ok(None);
        }
        Ok(attributes.held.map_or(Some(()), |held| body.put_attributes(out, &held)))
    }

    fn get(&self, name: &Py<PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.span.getattr(name.bind(self.py))
    }

    fn put_head(&self, out: &mut Vec<u8>, signal: &[u8], time: &Bound<'py, PyAny>) -> Option<()> {
        out.extend_from_slice(signal);
        put_time(out, b",\"timestamp\":\"", time)?;
        out.extend_from_slice(b",\"trace_id\":\"");
        out.extend_from_slice(&self.id[..TRACE_DIGITS]);
        out.extend_from_slice(b"\",\"span_id\":\"");
        out.extend_from_slice(&self.id[TRACE_DIGITS + 1..]);
        out.push(b'"');
        put_flags(out, self.context.flags);
        Some(())
    }

    /// Write name, kind and parent.
    fn put_about(&self, out: &mut Vec<u8>) -> PyResult<Option<()>> {
        let py = self.py;
        let name = self.get(&self.at.name)?;
        let Some(name) = text_of(&name) else {
            return Ok(None);
        };
        out.extend_from_slice(b",\"span\":{\"name\":");
        json::put_text(out, name);
        let kind = self.get(&self.at.kind)?;
        if !kind.is(self.sdk.internal.bind(py)) {
            if !kind.get_type().is(self.sdk.span_kind.bind(py)) {
                return Ok(None);
            }
            let number: usize = kind.getattr(intern!(py, "_value_"))?.extract()?;
            let Some(kind) = KINDS.get(number) else {
                return Ok(None);
            };
            out.extend_from_slice(b",\"kind\":");
            json::put_text(out, kind);
        }
        let parent = self.get(&self.at.parent)?;
        if parent.is_none() {
            return Ok(Some(()));
        }
        let Some(parent) = context_of(self.sdk, &parent)? else {
            return Ok(None);
        };
        Ok((!parent.has_state).then(|| {
            put_context(out, b",\"parent\":{\"span_id\":\"", &parent, Some(self.context.trace_id));
            out.push(b'}');
        }))
    }

    fn put_status(&self, out: &mut Vec<u8>, status: &Bound<'py, PyAny>) -> PyResult<Option<()>> {
        let py = self.py;
        if !status.get_type().is(self.sdk.status.bind(py)) {
            return Ok(None);
        }
        let code = status.getattr(self.at.status_code.bind(py))?;
        if code.is(self.sdk.unset.bind(py)) {
            return Ok(Some(()));
        }
        if !code.get_type().is(self.sdk.status_code.bind(py)) {
            return Ok(None);
        }
        let number: usize = code.getattr(intern!(py, "_value_"))?.extract()?;
        let Some(code) = STATUS_CODES.get(number) else {
            return Ok(None);
        };
        out.extend_from_slice(b",\"status\":");
        json::put_text(out, code);
        let description = status.getattr(self.at.description.bind(py))?;
        if description.is_none() {
            return Ok(Some(()));
        }
        Ok(text_of(&description).map(|text| {
            out.extend_from_slice(b",\"status_message\":");
            json::put_text(out, text);
        }))
    }
}

/// Write the fields of another span's context; its trace id only if it is not the given one.
pub fn put_context(out: &mut Vec<u8>, name: &[u8], of: &Context<'_>, trace_id: Option<u128>) {
    put_id(out, name, &of.span_id.to_be_bytes());
    if trace_id != Some(of.trace_id) {
        put_id(out, b",\"trace_id\":\"", &of.trace_id.to_be_bytes());
    }
    if of.remote {
        out.extend_from_slice(b",\"remote\":true");
    }
    put_flags(out, of.flags);
}

pub fn text_of<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.cast_exact::<PyString>().ok()?.to_str().ok()
}

fn put_time(out: &mut Vec<u8>, name: &[u8], value: &Bound<'_, PyAny>) -> Option<()> {
    let time = value.cast_exact::<PyInt>().ok()?.extract().ok()?;
    out.extend_from_slice(name);
    times::put(out, time);
    out.push(b'"');
    Some(())
}

fn flags_of(flags: &Bound<'_, PyAny>) -> Option<u32> {
    flags.cast::<PyInt>().ok()?.extract().ok()
}

fn put_flags(out: &mut Vec<u8>, flags: u32) {
    if flags != 0 {
        out.extend_from_slice(b",\"trace_flags\":");
        json::put_integer(out, flags.into());
    }
}
