//! Lines of agent events for sinks without OpenTelemetry, as `wakelog.events` encodes them.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString, PyTuple, PyType};

use crate::line::{put_attribute, put_id};
use crate::{json, times};

/// The most keys of a payload and of a caller's attributes: with more, the values of an event are
/// counted in Python.
const MOST_KEYS: usize = 100;
/// How many attributes most events have at most.
const USUAL_NAMES: usize = 24;

/// A field of events, and the attribute that it becomes.
type Field = (Py<PyString>, Py<PyString>);

/// Encodes the middle parts of the lines of events.
#[pyclass(frozen)]
pub struct EventEncoder {
    event: Py<PyType>,
    /// For each type of event the encoded fields up to its constant attributes, the names of these, and
    /// for the keys of payloads the attribute and what converts the value, or `None`.
    kinds: Py<PyDict>,
    /// Returns, and adds, the entry of an event's type.
    kind_of: Py<PyAny>,
    /// The fields that are attributes unless they are `None`.
    fields: Vec<Field>,
    names: Names,
    /// The last field, encoded.
    scope: Py<PyBytes>,
}

/// The names of the other attributes.
#[derive(FromPyObject)]
struct Names {
    run_id: Py<PyString>,
    event_key: Py<PyString>,
    payload: Py<PyString>,
    risk: Py<PyString>,
    metadata: Py<PyString>,
}

#[pymethods]
impl EventEncoder {
    #[new]
    fn new(
        event: Py<PyType>,
        kinds: Py<PyDict>,
        kind_of: Py<PyAny>,
        fields: Vec<Field>,
        names: Names,
        scope: Py<PyBytes>,
    ) -> Self {
        Self { event, kinds, kind_of, fields, names, scope }
    }

    /// Return the middle part of the line of an ordinary event of at most `longest` bytes, else `None`.
    fn encode<'py>(
        &self,
        event: &Bound<'py, PyAny>,
        longest: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut out = Vec::with_capacity(1024);
        let id = self.put(&mut out, event, longest)?;
        Ok(id.map(|_| PyBytes::new(event.py(), &out)))
    }
}

impl EventEncoder {
    /// Write the middle part and return the event's id.
    ///
    /// Returns `None` if the event is not ordinary; then `out`, empty before, has a part of it. What
    /// a signal's handler raises while Python converts a value is passed on.
    pub fn put<'py>(
        &self,
        out: &mut Vec<u8>,
        event: &Bound<'py, PyAny>,
        longest: usize,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let py = event.py();
        if !event.get_type().is(self.event.bind(py)) {
            return Ok(None);
        }
        let Ok(id) = event.getattr(intern!(py, "event_id"))?.cast_into_exact::<PyString>() else {
            return Ok(None);
        };
        let kind = event.getattr(intern!(py, "event_type"))?;
        if !kind.is_exact_instance_of::<PyString>() || !put_time(out, event)? {
            return Ok(None);
        }
        let kind = match self.kinds.bind(py).get_item(&kind)? {
            Some(known) => known,
            None => self.kind_of.bind(py).call1((event,))?,
        };
        let kind = kind.cast_into::<PyTuple>()?;
        out.extend_from_slice(kind.get_borrowed_item(0)?.cast::<PyBytes>()?.as_bytes());
        let mut attributes = Attributes::new(out, &kind, longest)?;
        if self.put_fields(&mut attributes, event, &id)?.is_none()
            || self.put_payload(&mut attributes, event, &kind)?.is_none()
            || self.put_others(&mut attributes, event)?.is_none()
        {
            return Ok(None);
        }
        out.push(b'}');
        if !put_span(out, event)? {
            return Ok(None);
        }
        out.extend_from_slice(self.scope.bind(py).as_bytes());
        Ok((out.len() <= longest && id.to_str().is_ok()).then_some(id))
    }

    fn put_fields<'py>(
        &self,
        attributes: &mut Attributes<'_, 'py>,
        event: &Bound<'py, PyAny>,
        id: &Bound<'py, PyString>,
    ) -> PyResult<Option<()>> {
        let py = event.py();
        for (field, name) in &self.fields {
            let value = event.getattr(field.bind(py))?;
            if !value.is_none() && attributes.put(name.bind(py), &value).is_none() {
                return Ok(None);
            }
        }
        let run_id = event.getattr(intern!(py, "run_id"))?;
        if !run_id.is(id) {
            let Ok(run_id) = run_id.cast_exact::<PyString>() else {
                return Ok(None);
            };
            let (Ok(run), Ok(own)) = (run_id.to_str(), id.to_str()) else {
                return Ok(None);
            };
            if run != own && attributes.put(self.names.run_id.bind(py), run_id).is_none() {
                return Ok(None);
            }
        }
        let key = event.getattr(intern!(py, "event_key"))?;
        if !key.is_none() && attributes.put(self.names.event_key.bind(py), &key).is_none() {
            return Ok(None);
        }
        Ok(Some(()))
    }

    /// Write the payload: what has attributes of its own, then the rest in one.
    fn put_payload<'py>(
        &self,
        attributes: &mut Attributes<'_, 'py>,
        event: &Bound<'py, PyAny>,
        kind: &Bound<'py, PyTuple>,
    ) -> PyResult<Option<()>> {
        let py = event.py();
        let payload = event.getattr(intern!(py, "payload"))?;
        let Ok(payload) = payload.cast_exact::<PyDict>() else {
            return Ok(None);
        };
        if payload.len() > MOST_KEYS {
            return Ok(None);
        }
        let known = kind.get_borrowed_item(2)?;
        let known = known.cast::<PyDict>()?;
        let (mut mapped, mut rest) = (Vec::new(), Vec::new());
        // What converts values is called later, as other threads may then change the payload.
        for (key, value) in payload.iter() {
            let Ok(key) = key.cast_into_exact::<PyString>() else {
                return Ok(None);
            };
            match known.get_item(&key)? {
                Some(attribute) => mapped.push((attribute.cast_into::<PyTuple>()?, value)),
                None => rest.push((key, value)),
            }
        }
        for (attribute, value) in mapped {
            if value.is_none() {
                continue;
            }
            let wrap = attribute.get_borrowed_item(1)?;
            let value = if wrap.is_none() { value } else { wrap.call1((value,))? };
            let name = attribute.get_item(0)?.cast_into::<PyString>()?;
            if !value.is_none() && attributes.put_new(&name, &value).is_none() {
                return Ok(None);
            }
        }
        if rest.is_empty() {
            return Ok(Some(()));
        }
        Ok(attributes.put_rest(self.names.payload.bind(py), &rest))
    }

    /// Write the classifications, the metadata, and the caller's attributes.
    fn put_others<'py>(
        &self,
        attributes: &mut Attributes<'_, 'py>,
        event: &Bound<'py, PyAny>,
    ) -> PyResult<Option<()>> {
        let py = event.py();
        for (field, name) in [
            (intern!(py, "risk"), &self.names.risk),
            (intern!(py, "metadata"), &self.names.metadata),
        ] {
            let value = event.getattr(field)?;
            let Ok(map) = value.cast_exact::<PyDict>() else {
                return Ok(None);
            };
            if !map.is_empty() && attributes.put(name.bind(py), map).is_none() {
                return Ok(None);
            }
        }
        let given = event.getattr(intern!(py, "attributes"))?;
        if given.is_none() {
            return Ok(Some(()));
        }
        let Ok(given) = given.cast_exact::<PyDict>() else {
            return Ok(None);
        };
        if given.len() > MOST_KEYS {
            return Ok(None);
        }
        for (key, value) in given.iter() {
            let Ok(key) = key.cast_exact::<PyString>() else {
                return Ok(None);
            };
            if attributes.put_new(key, &value).is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }
}

/// The attributes of a line, up to which it is written.
struct Attributes<'a, 'py> {
    out: &'a mut Vec<u8>,
    begin: usize,
    longest: usize,
    names: Vec<Bound<'py, PyString>>,
}

impl<'a, 'py> Attributes<'a, 'py> {
    fn new(out: &'a mut Vec<u8>, kind: &Bound<'py, PyTuple>, longest: usize) -> PyResult<Self> {
        let constant = kind.get_borrowed_item(1)?;
        let constant = constant.cast::<PyTuple>()?;
        let mut names = Vec::with_capacity(USUAL_NAMES);
        for name in constant.iter() {
            names.push(name.cast_into::<PyString>()?);
        }
        let begin = out.len() - usize::from(!names.is_empty());
        Ok(Self { out, begin, longest, names })
    }

    /// Write an attribute; `None` if its value is not ordinary.
    fn put(&mut self, name: &Bound<'py, PyString>, value: &Bound<'py, PyAny>) -> Option<()> {
        self.names.push(name.clone());
        put_attribute(self.out, self.begin, name, value, self.longest)
    }

    /// Write an attribute; `None` also if there is one of that name, whose value this one replaces.
    fn put_new(&mut self, name: &Bound<'py, PyString>, value: &Bound<'py, PyAny>) -> Option<()> {
        let text = name.to_str().ok()?;
        if self.names.iter().any(|known| known.to_str().is_ok_and(|known| known == text)) {
            return None;
        }
        self.put(name, value)
    }

    /// Write an attribute that is a map of these items.
    fn put_rest(
        &mut self,
        name: &Bound<'py, PyString>,
        items: &[(Bound<'py, PyString>, Bound<'py, PyAny>)],
    ) -> Option<()> {
        self.names.push(name.clone());
        if self.out.len() > self.begin {
            self.out.push(b',');
        }
        json::put_text(self.out, name.to_str().ok()?);
        self.out.extend_from_slice(b":{");
        let begin = self.out.len();
        for (key, value) in items {
            put_attribute(self.out, begin, key, value, self.longest)?;
        }
        self.out.push(b'}');
        Some(())
    }
}

/// Write the time of an event; false if it is not an ordinary one.
fn put_time(out: &mut Vec<u8>, event: &Bound<'_, PyAny>) -> PyResult<bool> {
    let time = event.getattr(intern!(event.py(), "time_unix_nano"))?;
    let Some(time) = time.cast_exact::<PyInt>().ok().and_then(|time| time.extract().ok()) else {
        return Ok(false);
    };
    out.extend_from_slice(b",\"timestamp\":\"");
    times::put(out, time);
    out.push(b'"');
    Ok(true)
}

/// Write the ids of an event's span; false if they are not ordinary.
fn put_span(out: &mut Vec<u8>, event: &Bound<'_, PyAny>) -> PyResult<bool> {
    let span = event.getattr(intern!(event.py(), "span_context"))?;
    if span.is_none() {
        return Ok(true);
    }
    let Some((trace_id, span_id, flags)) = ids_of(&span) else {
        return Ok(false);
    };
    put_id(out, b",\"trace_id\":\"", &trace_id.to_be_bytes());
    put_id(out, b",\"span_id\":\"", &span_id.to_be_bytes());
    if flags != 0 {
        out.extend_from_slice(b",\"trace_flags\":");
        json::put_integer(out, flags.into());
    }
    Ok(true)
}

fn ids_of(span: &Bound<'_, PyAny>) -> Option<(u128, u64, u32)> {
    let [trace_id, span_id, flags] =
        span.cast_exact::<PyTuple>().ok()?.extract::<[Bound<'_, PyAny>; 3]>().ok()?;
    for id in [&trace_id, &span_id, &flags] {
        id.cast_exact::<PyInt>().ok()?;
    }
    Some((trace_id.extract().ok()?, span_id.extract().ok()?, flags.extract().ok()?))
}
