//! Lines of log records, as `wakelog.otel._plain_lines` and `wakelog.record.seal` encode them.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFrozenSet, PyInt, PyString, PyTuple, PyType};

use crate::{ids, json, salts, times};

const LONGEST_ID: usize = 200;

/// Encodes the middle parts of lines.
#[pyclass(frozen)]
pub struct LineEncoder {
    bounded_attributes: Py<PyType>,
    severity_number: Py<PyType>,
    trace_flags: Py<PyType>,
    /// The attribute that has a record's id.
    uid: String,
}

#[pymethods]
impl LineEncoder {
    #[new]
    fn new(
        bounded_attributes: Py<PyType>,
        severity_number: Py<PyType>,
        trace_flags: Py<PyType>,
        uid: String,
    ) -> Self {
        Self { bounded_attributes, severity_number, trace_flags, uid }
    }

    /// Return the id and the middle part of the line of an ordinary log record, else `None`.
    ///
    /// The attributes of `apart`, and with them the body, are in the salted part of the line.
    #[allow(clippy::too_many_arguments)] // as its one caller
    fn encode<'py>(
        &self,
        py: Python<'py>,
        record: &Bound<'py, PyAny>,
        content: Option<&Bound<'py, PyDict>>,
        body: bool,
        ending: &[u8],
        longest: usize,
        apart: &Bound<'py, PyFrozenSet>,
    ) -> PyResult<Option<(Bound<'py, PyString>, Bound<'py, PyBytes>)>> {
        let mut out = Vec::with_capacity(1024);
        let Some(id) = self.put_middle(py, &mut out, record, content, body, longest, apart)? else {
            return Ok(None);
        };
        out.extend_from_slice(ending);
        if out.len() > longest {
            return Ok(None);
        }
        Ok(Some((id_or_new(py, id)?, PyBytes::new(py, &out))))
    }
}

/// The content of a record that is set apart on its line.
struct Salted<'a, 'py> {
    names: &'a Bound<'py, PyFrozenSet>,
    attributes: Vec<u8>,
    body: Vec<u8>,
}

impl<'a, 'py> Salted<'a, 'py> {
    const BEGINNING: &'static [u8] = b"{\"attributes\":{";

    fn new(names: &'a Bound<'py, PyFrozenSet>) -> Self {
        let mut attributes = Vec::with_capacity(512);
        attributes.extend_from_slice(Self::BEGINNING);
        Self { names, attributes, body: Vec::new() }
    }

    /// Return the content as a JSON object, `None` if there is none.
    fn content(mut self) -> Option<Vec<u8>> {
        if self.attributes.len() == Self::BEGINNING.len() && self.body.is_empty() {
            return None;
        }
        self.attributes.push(b'}');
        self.attributes.append(&mut self.body);
        self.attributes.push(b'}');
        Some(self.attributes)
    }
}

/// The id that a record has, if it has one; `None` outside if the record is not ordinary.
pub type Id<'py> = Option<Option<Bound<'py, PyString>>>;

impl LineEncoder {
    /// Write the middle part without its ending, and return the record's id.
    #[allow(clippy::too_many_arguments)] // as `encode`
    pub fn put_middle<'py>(
        &self,
        py: Python<'py>,
        out: &mut Vec<u8>,
        record: &Bound<'py, PyAny>,
        content: Option<&Bound<'py, PyDict>>,
        body: bool,
        longest: usize,
        apart: &Bound<'py, PyFrozenSet>,
    ) -> PyResult<Id<'py>> {
        let mut salted = (!apart.is_empty()).then(|| Salted::new(apart));
        let id = self.put(py, out, salted.as_mut(), record, content, body, longest)?;
        if let Some(text) = salted.and_then(Salted::content) {
            let mut whole = Vec::with_capacity(text.len() + out.len() + 256);
            salts::put_field(&mut whole, text)?;
            whole.append(out);
            *out = whole;
        }
        Ok(id)
    }

    #[allow(clippy::too_many_arguments)] // as `encode`
    fn put<'py>(
        &self,
        py: Python<'py>,
        out: &mut Vec<u8>,
        mut salted: Option<&mut Salted<'_, 'py>>,
        record: &Bound<'py, PyAny>,
        content: Option<&Bound<'py, PyDict>>,
        body: bool,
        longest: usize,
    ) -> PyResult<Id<'py>> {
        let happened = record.getattr(intern!(py, "timestamp"))?;
        let seen = record.getattr(intern!(py, "observed_timestamp"))?;
        let name = record.getattr(intern!(py, "event_name"))?;
        let number = record.getattr(intern!(py, "severity_number"))?;
        let severity = record.getattr(intern!(py, "severity_text"))?;
        if put_times(out, &happened, &seen).is_none()
            || self.put_head(py, out, &name, &number, &severity).is_none()
        {
            return Ok(None);
        }
        if body {
            let body = record.getattr(intern!(py, "body"))?;
            if !body.is_none() {
                let place = salted.as_mut().map_or(&mut *out, |salted| &mut salted.body);
                place.extend_from_slice(b",\"body\":");
                if json::put_value(place, &body, longest).is_none() {
                    return Ok(None);
                }
            }
        }
        let trace_id = record.getattr(intern!(py, "trace_id"))?;
        let span_id = record.getattr(intern!(py, "span_id"))?;
        let flags = record.getattr(intern!(py, "trace_flags"))?;
        if self.put_span(py, out, &trace_id, &span_id, &flags).is_none() {
            return Ok(None);
        }
        let Some(attributes) = self.attributes_of(py, record)? else {
            return Ok(None);
        };
        Ok(self.put_attributes(out, salted, attributes.as_ref(), content, longest))
    }

    /// Return a record's attributes, `None` outside if they are not ordinary.
    fn attributes_of<'py>(
        &self,
        py: Python<'py>,
        record: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Option<Bound<'py, PyDict>>>> {
        let given = record.getattr(intern!(py, "attributes"))?;
        if given.is_none() {
            return Ok(Some(None));
        }
        if given.get_type().is(self.bounded_attributes.bind(py)) {
            if given.getattr(intern!(py, "dropped"))?.is_truthy()? {
                return Ok(None);
            }
            // The dict inside is read at once, while no other code runs, and need not be copied.
            if let Ok(inside) = given.getattr(intern!(py, "_dict")) {
                if let Ok(inside) = inside.cast_into_exact::<PyDict>() {
                    return Ok(Some(Some(inside)));
                }
            }
            let copy = given.call_method0(intern!(py, "copy"))?;
            return Ok(copy.cast_into_exact::<PyDict>().ok().map(Some));
        }
        Ok(given.cast_into_exact::<PyDict>().ok().map(Some))
    }

    fn put_head(
        &self,
        py: Python<'_>,
        out: &mut Vec<u8>,
        name: &Bound<'_, PyAny>,
        number: &Bound<'_, PyAny>,
        severity: &Bound<'_, PyAny>,
    ) -> Option<()> {
        put_optional_text(out, b",\"event_name\":", name)?;
        if !number.is_none() {
            if !number.get_type().is(self.severity_number.bind(py)) {
                return None;
            }
            let value: i64 = number.getattr(intern!(py, "_value_")).ok()?.extract().ok()?;
            if value >= 0 {
                out.extend_from_slice(b",\"severity_number\":");
                json::put_integer(out, value);
            }
        }
        put_optional_text(out, b",\"severity_text\":", severity)
    }

    fn put_span(
        &self,
        py: Python<'_>,
        out: &mut Vec<u8>,
        trace_id: &Bound<'_, PyAny>,
        span_id: &Bound<'_, PyAny>,
        flags: &Bound<'_, PyAny>,
    ) -> Option<()> {
        let trace_id: u128 = trace_id.cast_exact::<PyInt>().ok()?.extract().ok()?;
        let span_id: u64 = span_id.cast_exact::<PyInt>().ok()?.extract().ok()?;
        if !flags.get_type().is(self.trace_flags.bind(py)) {
            flags.cast_exact::<PyInt>().ok()?;
        }
        let flags: u32 = flags.extract().ok()?;
        if trace_id != 0 {
            put_id(out, b",\"trace_id\":\"", &trace_id.to_be_bytes());
        }
        if span_id != 0 {
            put_id(out, b",\"span_id\":\"", &span_id.to_be_bytes());
        }
        if flags != 0 {
            out.extend_from_slice(b",\"trace_flags\":");
            json::put_integer(out, flags.into());
        }
        Some(())
    }

    /// Write the attributes and return the id among them; `None` outside if they are not ordinary.
    fn put_attributes<'py>(
        &self,
        out: &mut Vec<u8>,
        mut salted: Option<&mut Salted<'_, 'py>>,
        attributes: Option<&Bound<'py, PyDict>>,
        content: Option<&Bound<'py, PyDict>>,
        longest: usize,
    ) -> Id<'py> {
        let before = out.len();
        out.extend_from_slice(b",\"attributes\":{");
        let begin = out.len();
        let mut put = |key: &Bound<'py, PyString>, value: &Bound<'py, PyAny>| match &mut salted {
            Some(salted) if salted.names.contains(key).ok()? => {
                put_attribute(&mut salted.attributes, Salted::BEGINNING.len(), key, value, longest)
            }
            _ => put_attribute(out, begin, key, value, longest),
        };
        let mut id = None;
        if let Some(attributes) = attributes {
            for (key, value) in attributes.iter() {
                let key = key.cast_exact::<PyString>().ok()?;
                if key.to_str().ok()? == self.uid {
                    id = Some(id_of(&value)?);
                    continue;
                }
                put(key, &value)?;
            }
        }
        if let Some(content) = content {
            for (key, value) in content.iter() {
                let key = key.cast_exact::<PyString>().ok()?;
                if key.to_str().ok()? == self.uid
                    || attributes.is_some_and(|known| known.contains(key).unwrap_or(true))
                {
                    return None;
                }
                put(key, &value)?;
            }
        }
        if out.len() == begin {
            out.truncate(before);
        } else {
            out.push(b'}');
        }
        Some(id)
    }
}

/// Complete a line: return it with its newline, and its checksum.
#[pyfunction]
pub fn seal<'py>(
    py: Python<'py>,
    record_id: &Bound<'py, PyString>,
    seq: i64,
    content: &[u8],
    previous_crc: u32,
) -> PyResult<Bound<'py, PyTuple>> {
    let (line, crc) = seal_line(py, record_id, seq, content, previous_crc)?;
    (line, crc).into_pyobject(py)
}

/// Do what `seal` does, for callers in Rust.
pub fn seal_line<'py>(
    py: Python<'py>,
    record_id: &Bound<'py, PyString>,
    seq: i64,
    content: &[u8],
    previous_crc: u32,
) -> PyResult<(Bound<'py, PyBytes>, u32)> {
    let id = record_id
        .to_str()
        .map_err(|_| PyTypeError::new_err("str is not valid UTF-8: surrogates not allowed"))?;
    let mut line = Vec::with_capacity(id.len() + content.len() + 64);
    line.extend_from_slice(b"{\"id\":");
    json::put_text(&mut line, id);
    line.extend_from_slice(b",\"seq\":");
    json::put_integer(&mut line, seq);
    let crc = complete(&mut line, content, previous_crc);
    Ok((PyBytes::new(py, &line), crc))
}

/// Complete a line of which the beginning is written, and return its checksum.
pub fn complete(line: &mut Vec<u8>, content: &[u8], previous_crc: u32) -> u32 {
    line.extend_from_slice(content);
    let mut hasher = crc32fast::Hasher::new_with_initial(previous_crc);
    hasher.update(line);
    let crc = hasher.finalize();
    put_id(line, b",\"crc\":\"", &crc.to_be_bytes());
    line.extend_from_slice(b"}\n");
    crc
}

/// Return a record's id, a new one if it has none.
pub fn id_or_new<'py>(
    py: Python<'py>,
    id: Option<Bound<'py, PyString>>,
) -> PyResult<Bound<'py, PyString>> {
    id.map_or_else(|| PyString::from_bytes(py, &ids::uuid7()?), Ok)
}

/// Write the last field of the middle part, the encoded scope of a record or a span.
pub fn put_scope(
    out: &mut Vec<u8>,
    given: &Bound<'_, PyAny>,
    scope: &Bound<'_, PyAny>,
    scopes: &Bound<'_, PyDict>,
    scope_of: &Py<PyAny>,
) -> PyResult<()> {
    match scopes.get_item(scope.as_ptr() as usize)? {
        Some(known) => out.extend_from_slice(known.get_item(1)?.cast::<PyBytes>()?.as_bytes()),
        None => {
            let text = scope_of.bind(given.py()).call1((given,))?;
            out.extend_from_slice(text.cast::<PyBytes>()?.as_bytes());
        }
    }
    Ok(())
}

/// Write an attribute of the object that begins at `begin`; `None` if it is not ordinary.
pub fn put_attribute(
    out: &mut Vec<u8>,
    begin: usize,
    key: &Bound<'_, PyString>,
    value: &Bound<'_, PyAny>,
    longest: usize,
) -> Option<()> {
    let key = key.to_str().ok()?;
    if key == json::TAG {
        return None;
    }
    if out.len() > begin {
        out.push(b',');
    }
    json::put_text(out, key);
    out.push(b':');
    json::put_value(out, value, longest)
}

/// Return an id that a record has among its attributes, `None` if it is not a usable one.
fn id_of<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyString>> {
    let id = value.cast_exact::<PyString>().ok()?;
    let text = id.to_str().ok()?;
    (text.is_ascii() && !text.is_empty() && text.len() <= LONGEST_ID).then(|| id.clone())
}

fn put_optional_text(out: &mut Vec<u8>, name: &[u8], value: &Bound<'_, PyAny>) -> Option<()> {
    if value.is_none() {
        return Some(());
    }
    let text = value.cast_exact::<PyString>().ok()?.to_str().ok()?;
    if !text.is_empty() {
        out.extend_from_slice(name);
        json::put_text(out, text);
    }
    Some(())
}

fn put_times(
    out: &mut Vec<u8>,
    happened: &Bound<'_, PyAny>,
    seen: &Bound<'_, PyAny>,
) -> Option<()> {
    let seen = time_of(seen)?;
    if happened.is_none() {
        out.extend_from_slice(b",\"observed_timestamp\":\"");
        times::put(out, seen);
    } else {
        let happened = time_of(happened)?;
        out.extend_from_slice(b",\"timestamp\":\"");
        times::put(out, happened);
        if happened != seen {
            out.extend_from_slice(b"\",\"observed_timestamp\":\"");
            times::put(out, seen);
        }
    }
    out.push(b'"');
    Some(())
}

fn time_of(value: &Bound<'_, PyAny>) -> Option<u64> {
    value.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// Write a field of bytes in hexadecimal; the name has the quotation mark before them.
pub fn put_id(out: &mut Vec<u8>, name: &[u8], id: &[u8]) {
    out.extend_from_slice(name);
    for &byte in id {
        json::put_byte(out, byte);
    }
    out.push(b'"');
}
