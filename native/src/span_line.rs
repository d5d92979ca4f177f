//! Lines of spans, as `wakelog.otel._span_fields` encodes them.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyMappingProxy, PyString, PyType};

use crate::line::{put_attribute, put_id};
use crate::{json, times};

/// The length of a trace id in hexadecimal; an id of a line has it, a hyphen and the span id.
const TRACE_DIGITS: usize = 32;
const KINDS: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];
const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// Encodes the middle parts of lines of spans.
#[pyclass(frozen)]
pub struct SpanLineEncoder {
    span_kind: Py<PyType>,
    status_code: Py<PyType>,
    span_context: Py<PyType>,
}

#[pymethods]
impl SpanLineEncoder {
    #[new]
    fn new(span_kind: Py<PyType>, status_code: Py<PyType>, span_context: Py<PyType>) -> Self {
        Self { span_kind, status_code, span_context }
    }

    /// Return the middle part of the line of a span's start, or of its end.
    ///
    /// `id` is the id of the line, and `ending` its encoded scope. Returns `None` for a span that is
    /// not ordinary, such as one with links, with events, or with a trace state.
    #[allow(clippy::too_many_arguments)] // what its one caller knows of a span
    fn encode<'py>(
        &self,
        py: Python<'py>,
        span: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        id: &str,
        ended: bool,
        ending: &[u8],
        longest: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut out = Vec::with_capacity(1024);
        let line = Line { encoder: self, py, span, id, longest };
        Ok(line.put(&mut out, context, ended)?.map(|()| {
            out.extend_from_slice(ending);
            PyBytes::new(py, &out)
        }))
    }
}

/// A line that is being written. Its methods return `None` for what is not ordinary.
struct Line<'a, 'py> {
    encoder: &'a SpanLineEncoder,
    py: Python<'py>,
    span: &'a Bound<'py, PyAny>,
    id: &'a str,
    longest: usize,
}

impl<'py> Line<'_, 'py> {
    fn put(
        &self,
        out: &mut Vec<u8>,
        context: &Bound<'py, PyAny>,
        ended: bool,
    ) -> PyResult<Option<()>> {
        let (py, span) = (self.py, self.span);
        if span.getattr(intern!(py, "links"))?.is_truthy()?
            || span.getattr(intern!(py, "dropped_attributes"))?.is_truthy()?
            || context.getattr(intern!(py, "trace_state"))?.is_truthy()?
            || context.getattr(intern!(py, "is_remote"))?.is_truthy()?
        {
            return Ok(None);
        }
        let began = span.getattr(intern!(py, "start_time"))?;
        let flags = context.getattr(intern!(py, "trace_flags"))?;
        if ended {
            for name in
                [intern!(py, "events"), intern!(py, "dropped_events"), intern!(py, "dropped_links")]
            {
                if span.getattr(name)?.is_truthy()? {
                    return Ok(None);
                }
            }
            let time = span.getattr(intern!(py, "end_time"))?;
            let head = self.put_head(out, b",\"signal\":\"span\"", &time, &flags);
            if head.is_none() || self.put_about(out)?.is_none() {
                return Ok(None);
            }
            let status = span.getattr(intern!(py, "status"))?;
            if put_time(out, b",\"start\":\"", &began).is_none()
                || self.put_status(out, &status)?.is_none()
            {
                return Ok(None);
            }
        } else {
            let head = self.put_head(out, b",\"signal\":\"span_start\"", &began, &flags);
            if head.is_none() || self.put_about(out)?.is_none() {
                return Ok(None);
            }
        }
        out.push(b'}');
        self.put_attributes(out)
    }

    fn put_head(
        &self,
        out: &mut Vec<u8>,
        signal: &[u8],
        time: &Bound<'py, PyAny>,
        flags: &Bound<'py, PyAny>,
    ) -> Option<()> {
        out.extend_from_slice(signal);
        put_time(out, b",\"timestamp\":\"", time)?;
        out.extend_from_slice(b",\"trace_id\":\"");
        out.extend_from_slice(self.id.get(..TRACE_DIGITS)?.as_bytes());
        out.extend_from_slice(b"\",\"span_id\":\"");
        out.extend_from_slice(self.id.get(TRACE_DIGITS + 1..)?.as_bytes());
        out.push(b'"');
        put_flags(out, flags)
    }

    /// Write name, kind and parent.
    fn put_about(&self, out: &mut Vec<u8>) -> PyResult<Option<()>> {
        let (py, span) = (self.py, self.span);
        let name = span.getattr(intern!(py, "name"))?;
        let Some(name) = text_of(&name) else {
            return Ok(None);
        };
        out.extend_from_slice(b",\"span\":{\"name\":");
        json::put_text(out, name);
        let kind = span.getattr(intern!(py, "kind"))?;
        if !kind.get_type().is(self.encoder.span_kind.bind(py)) {
            return Ok(None);
        }
        match kind.getattr(intern!(py, "_value_"))?.extract::<usize>()? {
            0 => {}
            number => {
                let Some(kind) = KINDS.get(number) else {
                    return Ok(None);
                };
                out.extend_from_slice(b",\"kind\":");
                json::put_text(out, kind);
            }
        }
        let parent = span.getattr(intern!(py, "parent"))?;
        if parent.is_none() {
            return Ok(Some(()));
        }
        if !parent.get_type().is(self.encoder.span_context.bind(py))
            || parent.getattr(intern!(py, "trace_state"))?.is_truthy()?
        {
            return Ok(None);
        }
        let trace_id = parent.getattr(intern!(py, "trace_id"))?;
        let span_id = parent.getattr(intern!(py, "span_id"))?;
        let remote = parent.getattr(intern!(py, "is_remote"))?.is_truthy()?;
        let flags = parent.getattr(intern!(py, "trace_flags"))?;
        Ok(self.put_parent(out, &trace_id, &span_id, remote, &flags))
    }

    fn put_parent(
        &self,
        out: &mut Vec<u8>,
        trace_id: &Bound<'py, PyAny>,
        span_id: &Bound<'py, PyAny>,
        remote: bool,
        flags: &Bound<'py, PyAny>,
    ) -> Option<()> {
        let trace_id: u128 = trace_id.cast_exact::<PyInt>().ok()?.extract().ok()?;
        let span_id: u64 = span_id.cast_exact::<PyInt>().ok()?.extract().ok()?;
        put_id(out, b",\"parent\":{\"span_id\":\"", &span_id.to_be_bytes());
        if trace_id != u128::from_str_radix(self.id.get(..TRACE_DIGITS)?, 16).ok()? {
            put_id(out, b",\"trace_id\":\"", &trace_id.to_be_bytes());
        }
        if remote {
            out.extend_from_slice(b",\"remote\":true");
        }
        put_flags(out, flags)?;
        out.push(b'}');
        Some(())
    }

    fn put_status(&self, out: &mut Vec<u8>, status: &Bound<'py, PyAny>) -> PyResult<Option<()>> {
        let code = status.getattr(intern!(self.py, "status_code"))?;
        if !code.get_type().is(self.encoder.status_code.bind(self.py)) {
            return Ok(None);
        }
        let number: usize = code.getattr(intern!(self.py, "_value_"))?.extract()?;
        if number == 0 {
            return Ok(Some(()));
        }
        let Some(code) = STATUS_CODES.get(number) else {
            return Ok(None);
        };
        out.extend_from_slice(b",\"status\":");
        json::put_text(out, code);
        let description = status.getattr(intern!(self.py, "description"))?;
        if description.is_none() {
            return Ok(Some(()));
        }
        Ok(text_of(&description).map(|text| {
            out.extend_from_slice(b",\"status_message\":");
            json::put_text(out, text);
        }))
    }

    fn put_attributes(&self, out: &mut Vec<u8>) -> PyResult<Option<()>> {
        let given = self.span.getattr(intern!(self.py, "attributes"))?;
        let attributes = if given.is_none() {
            return Ok(Some(()));
        } else if given.is_exact_instance_of::<PyMappingProxy>() {
            given.call_method0(intern!(self.py, "copy"))? // of the mapping behind the proxy
        } else {
            given
        };
        Ok(attributes.cast_exact::<PyDict>().ok().and_then(|given| self.put_all(out, given)))
    }

    fn put_all(&self, out: &mut Vec<u8>, attributes: &Bound<'py, PyDict>) -> Option<()> {
        if attributes.is_empty() {
            return Some(());
        }
        out.extend_from_slice(b",\"attributes\":{");
        let begin = out.len();
        for (key, value) in attributes.iter() {
            put_attribute(out, begin, key.cast_exact().ok()?, &value, self.longest)?;
        }
        out.push(b'}');
        Some(())
    }
}

fn text_of<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.cast_exact::<PyString>().ok()?.to_str().ok()
}

fn put_time(out: &mut Vec<u8>, name: &[u8], value: &Bound<'_, PyAny>) -> Option<()> {
    let time = value.cast_exact::<PyInt>().ok()?.extract().ok()?;
    out.extend_from_slice(name);
    times::put(out, time);
    out.push(b'"');
    Some(())
}

fn put_flags(out: &mut Vec<u8>, flags: &Bound<'_, PyAny>) -> Option<()> {
    let flags: u32 = flags.cast::<PyInt>().ok()?.extract().ok()?;
    if flags != 0 {
        out.extend_from_slice(b",\"trace_flags\":");
        json::put_integer(out, flags.into());
    }
    Some(())
}
