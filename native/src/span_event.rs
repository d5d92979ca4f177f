//! Events of spans, as `wakelog.otel._bridge` adds them, and the ids of a context's span.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyModule, PyString, PyTuple, PyType,
};

/// Where the SDK's spans and events have their values: `wakelog.otel._event_storage.EventStorage`.
#[derive(FromPyObject)]
struct Storage {
    /// Of a span: its context, end, events, lock and limits.
    context: Py<PyString>,
    end_time: Py<PyString>,
    events: Py<PyString>,
    lock: Py<PyString>,
    limits: Py<PyString>,
    /// Of a bounded list: its queue and its lock.
    queue: Py<PyString>,
    list_lock: Py<PyString>,
    /// Of an event.
    name: Py<PyString>,
    timestamp: Py<PyString>,
    attributes: Py<PyString>,
    /// The attributes of empty bounded attributes, and the places of the dict, the lock and the
    /// limit among them.
    bounded: Vec<(Py<PyString>, Py<PyAny>)>,
    held: usize,
    attributes_lock: usize,
    most: usize,
    /// The type of locks.
    lock_type: Py<PyType>,
    /// The key of the current span in a context.
    key: Py<PyString>,
    /// For each class of spans whether its objects have their values there.
    classes: Py<PyAny>,
}

/// The classes and functions of OpenTelemetry, and Wakelog's class of log records.
#[derive(FromPyObject)]
struct Known {
    context: Py<PyType>,
    span_context: Py<PyType>,
    bounded_list: Py<PyType>,
    bounded_attributes: Py<PyType>,
    event: Py<PyType>,
    /// The functions `add_event` and `_add_event` of the SDK's spans.
    add_event: Py<PyAny>,
    add_made: Py<PyAny>,
    log_record: Py<PyType>,
    /// The name of the scope whose records are Wakelog's own, and the names of their content.
    scope_name: Py<PyString>,
    content: Py<PyFrozenSet>,
}

/// Adds Wakelog's own events to spans.
#[pyclass(frozen)]
pub struct SpanEvents {
    at: Storage,
    known: Known,
}

#[pymethods]
impl SpanEvents {
    #[new]
    fn new(at: Storage, known: Known) -> Self {
        Self { at, known }
    }

    /// Add an event to the span of its context, with its content or without.
    ///
    /// Returns whether it was added. If not, nothing has been changed.
    fn add(&self, log_record: &Bound<'_, PyAny>, content: bool) -> bool {
        self.try_add(log_record, content).ok().flatten().is_some()
    }

    /// Return trace id, span id and flags of a context's span; `None` if it is not an ordinary one.
    fn ids<'py>(&self, context: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = context.py();
        let Some(span) = self.span_in(context)? else {
            return Ok(None);
        };
        if !is_of_class(&span, intern!(py, "get_span_context"))? {
            return Ok(None);
        }
        let Some(items) = self.context_of(&span)? else {
            return Ok(None);
        };
        let (trace_id, span_id) = (items.get_item(0)?, items.get_item(1)?);
        let flags: u32 = items.get_item(3)?.extract()?;
        if !trace_id.is_exact_instance_of::<PyInt>() || !span_id.is_exact_instance_of::<PyInt>() {
            return Ok(None);
        }
        (trace_id, span_id, flags).into_pyobject(py).map(Some)
    }
}

impl SpanEvents {
    fn try_add(&self, log_record: &Bound<'_, PyAny>, content: bool) -> PyResult<Option<()>> {
        let py = log_record.py();
        let record = log_record.getattr(intern!(py, "log_record"))?;
        if !record.get_type().is(self.known.log_record.bind(py)) || !self.is_own(log_record)? {
            return Ok(None);
        }
        let Some(span) = self.span_in(&record.getattr(intern!(py, "context"))?)? else {
            return Ok(None);
        };
        let Some(ids) = self.context_of(&span)? else {
            return Ok(None);
        };
        let name = record.getattr(intern!(py, "event_name"))?;
        let time = record.getattr(intern!(py, "timestamp"))?;
        if !ids.get_item(0)?.eq(record.getattr(intern!(py, "trace_id"))?)?
            || !ids.get_item(1)?.eq(record.getattr(intern!(py, "span_id"))?)?
            || !name.is_exact_instance_of::<PyString>()
            || !name.is_truthy()?
            || !time.is_exact_instance_of::<PyInt>()
            || !time.is_truthy()?
            || !self.adds_as_the_sdk(&span)?
        {
            return Ok(None);
        }
        let limits = span.getattr(self.at.limits.bind(py))?;
        if !limits.getattr(intern!(py, "max_attribute_length"))?.is_none() {
            return Ok(None);
        }
        let most = limits.getattr(intern!(py, "max_event_attributes"))?;
        let Some(attributes) = self.attributes_of(&record, content)? else {
            return Ok(None);
        };
        if !most.is_none() && attributes.len() > most.extract()? {
            return Ok(None);
        }
        let event = self.event(&name, &time, &self.bounded(attributes, &most)?)?;
        self.append(&span, &event)
    }

    /// Return whether a record has Wakelog's own scope.
    fn is_own(&self, log_record: &Bound<'_, PyAny>) -> PyResult<bool> {
        static LAST: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = log_record.py();
        let scope = log_record.getattr(intern!(py, "instrumentation_scope"))?;
        if LAST.get(py).is_some_and(|last| scope.is(last)) {
            return Ok(true);
        }
        if scope.is_none() || !scope.getattr(intern!(py, "name"))?.eq(&self.known.scope_name)? {
            return Ok(false);
        }
        let _ = LAST.set(py, scope.unbind());
        Ok(true)
    }

    /// Return the span of a context, `None` without one, or with one of another class.
    fn span_in<'py>(&self, context: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = context.py();
        if !context.get_type().is(self.known.context.bind(py)) {
            return Ok(None);
        }
        let Some(span) = context.cast::<PyDict>()?.get_item(self.at.key.bind(py))? else {
            return Ok(None);
        };
        let plain = self.at.classes.bind(py).get_item(span.get_type())?.is_truthy()?;
        Ok(plain.then_some(span))
    }

    /// Return the items of a span's context, `None` if they are not valid.
    fn context_of<'py>(&self, span: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = span.py();
        let context = span.getattr(self.at.context.bind(py))?;
        if !context.get_type().is(self.known.span_context.bind(py)) {
            return Ok(None);
        }
        let items = context.cast_into::<PyTuple>()?;
        let valid = items.get_item(5)?.is_truthy()?;
        Ok(valid.then_some(items))
    }

    /// Return whether neither the span nor its class has another way to add events.
    fn adds_as_the_sdk(&self, span: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = span.py();
        if !is_of_class(span, intern!(py, "is_recording"))? {
            return Ok(false);
        }
        let add_event = span.getattr(intern!(py, "add_event"))?;
        let add_made = span.get_type().getattr(intern!(py, "_add_event"))?;
        Ok(add_event.getattr(intern!(py, "__func__"))?.is(&self.known.add_event)
            && add_made.is(&self.known.add_made))
    }

    /// Return a copy of the attributes of an event, `None` if the SDK would have to check them.
    fn attributes_of<'py>(
        &self,
        record: &Bound<'py, PyAny>,
        content: bool,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let py = record.py();
        let given = record.getattr(intern!(py, "attributes"))?;
        let Ok(given) = given.cast_exact::<PyDict>() else {
            return Ok(None);
        };
        let attributes = given.copy()?;
        if content {
            let given = record.getattr(intern!(py, "content"))?;
            if let Ok(given) = given.cast_exact::<PyDict>() {
                attributes.update(given.as_mapping())?;
            } else if !given.is_none() {
                return Ok(None);
            }
        }
        let apart = self.known.content.bind(py);
        for (key, value) in attributes.iter() {
            if !key.is_exact_instance_of::<PyString>()
                || !key.is_truthy()?
                || !is_flat(&value)
                || (!content && apart.contains(&key)?)
            {
                return Ok(None);
            }
        }
        Ok(Some(attributes))
    }

    fn bounded<'py>(
        &self,
        held: Bound<'py, PyDict>,
        most: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = held.py();
        let made = new(self.known.bounded_attributes.bind(py))?;
        let held = held.into_any();
        for (number, (name, usual)) in self.at.bounded.iter().enumerate() {
            let name = name.bind(py);
            if number == self.at.held {
                made.setattr(name, &held)?;
            } else if number == self.at.most {
                made.setattr(name, most)?;
            } else if number == self.at.attributes_lock {
                made.setattr(name, new_lock(py)?)?;
            } else {
                made.setattr(name, usual)?;
            }
        }
        Ok(made)
    }

    fn event<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        time: &Bound<'py, PyAny>,
        attributes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = name.py();
        let made = new(self.known.event.bind(py))?;
        made.setattr(self.at.name.bind(py), name)?;
        made.setattr(self.at.timestamp.bind(py), time)?;
        made.setattr(self.at.attributes.bind(py), attributes)?;
        Ok(made)
    }

    /// Append an event to the events of a span that has not ended, in place of the oldest if it is full.
    ///
    /// Between the checks and the change, no code of Python runs and no other thread.
    fn append(&self, span: &Bound<'_, PyAny>, event: &Bound<'_, PyAny>) -> PyResult<Option<()>> {
        let py = span.py();
        let events = span.getattr(self.at.events.bind(py))?;
        if !events.get_type().is(self.known.bounded_list.bind(py)) {
            return Ok(None);
        }
        let queue = events.getattr(self.at.queue.bind(py))?;
        let most = queue.getattr(intern!(py, "maxlen"))?;
        let is_full = !most.is_none() && queue.len()? == most.extract::<usize>()?;
        if self.is_held(&span.getattr(self.at.lock.bind(py))?)?
            || self.is_held(&events.getattr(self.at.list_lock.bind(py))?)?
            || !span.getattr(self.at.end_time.bind(py))?.is_none()
        {
            return Ok(None);
        }
        if is_full {
            let dropped: u64 = events.getattr(intern!(py, "dropped"))?.extract()?;
            events.setattr(intern!(py, "dropped"), dropped + 1)?;
        }
        queue.call_method1(intern!(py, "append"), (event,))?;
        Ok(Some(()))
    }

    /// Return whether a lock is held, or is of a type that is not known.
    fn is_held(&self, lock: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = lock.py();
        Ok(!lock.get_type().is(self.at.lock_type.bind(py))
            || lock.call_method0(intern!(py, "locked"))?.is_truthy()?)
    }
}

/// Return whether an object has the method of its class, and none of its own.
fn is_of_class(object: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    let function = object.getattr(name)?.getattr_opt(intern!(object.py(), "__func__"))?;
    let own = object.get_type().getattr(name)?;
    Ok(function.is_some_and(|function| function.is(&own)))
}

/// Return a new object of a class of Python without initializing it.
fn new<'py>(kind: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    static NEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = kind.py();
    let new = NEW.get_or_try_init(py, || {
        let object = PyModule::import(py, "builtins")?.getattr("object")?;
        object.getattr("__new__").map(Bound::unbind)
    })?;
    new.bind(py).call1((kind,))
}

/// Return a lock of the kind that `threading` has now; a library may have replaced it.
fn new_lock(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static THREADING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let threading =
        THREADING.get_or_try_init(py, || PyModule::import(py, "threading").map(Bound::unbind))?;
    threading.bind(py).getattr(intern!(py, "Lock"))?.call0()
}

fn is_flat(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_none()
        || value.is_exact_instance_of::<PyBytes>()
}
