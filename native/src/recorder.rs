//! Recording of ordinary log records, from the SDK's record to the written line.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyString, PyTuple, PyType};

use crate::line::{self, LineEncoder};
use crate::writer::{Line, LineWriter};

/// Does what `wakelog.otel._records.content_of` and `Journal.put` do for an ordinary log record.
#[pyclass(frozen)]
pub struct LogRecorder {
    encoder: Py<LineEncoder>,
    writer: Py<LineWriter>,
    /// The class of the records of Wakelog's own loggers.
    event: Py<PyType>,
    /// The encoded scopes by the scope's id, and what returns, and adds, that of a record.
    scopes: Py<PyDict>,
    scope_of: Py<PyAny>,
}

/// A record's id, its writer and its sequence number.
type Recorded<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>, i64);

#[pymethods]
impl LogRecorder {
    #[new]
    fn new(
        encoder: Py<LineEncoder>,
        writer: Py<LineWriter>,
        event: Py<PyType>,
        scopes: Py<PyDict>,
        scope_of: Py<PyAny>,
    ) -> Self {
        Self { encoder, writer, event, scopes, scope_of }
    }

    /// Encode a record and write its line; `None`, with nothing changed, if it is not ordinary.
    ///
    /// `resource` is the last record's, as the SDK and as the journal has it. The content of `apart`
    /// is in the salted part of the line. Without `foreign`, only Wakelog's own records are taken.
    #[allow(clippy::too_many_arguments)] // as its one caller
    fn record<'py>(
        &self,
        py: Python<'py>,
        journal: &Bound<'py, PyAny>,
        log_record: &Bound<'py, PyAny>,
        resource: &Bound<'py, PyTuple>,
        longest: usize,
        apart: &Bound<'py, PyFrozenSet>,
        foreign: bool,
    ) -> PyResult<Option<Recorded<'py>>> {
        let durability = journal.getattr(intern!(py, "durability"))?;
        let current = journal.getattr(intern!(py, "_current"))?;
        let writes = self.writer.get();
        if current.is_none()
            || writes.syncs(py, &durability)
            || !log_record.getattr(intern!(py, "resource"))?.is(&resource.get_item(0)?)
        {
            return Ok(None);
        }
        let (known, opened): (Bound<'py, PyAny>, Bound<'py, PyTuple>) = current.extract()?;
        let resource = resource.get_item(1)?;
        if !known.is(&resource) {
            return Ok(None);
        }
        let record = log_record.getattr(intern!(py, "log_record"))?;
        let Some(given) = self.take(py, &record, foreign)? else {
            return Ok(None);
        };
        let encoder = self.encoder.get();
        let mut out = Vec::with_capacity(1024);
        let content = given.content.as_ref();
        let found =
            encoder.put_middle(py, &mut out, &record, content, given.body, longest, apart)?;
        let Some(id) = found else {
            return Ok(None);
        };
        let scope = log_record.getattr(intern!(py, "instrumentation_scope"))?;
        line::put_scope(&mut out, log_record, &scope, self.scopes.bind(py), &self.scope_of)?;
        if out.len() > longest {
            return Ok(None);
        }
        let id = line::id_or_new(py, id)?;
        let writer = opened.get_item(0)?;
        let line = Line::new(&writer, &id, &out, &resource, true)?;
        let seq = writes.try_write(&line)?;
        drop(line);
        Ok(seq.map(|seq| (id, writer, seq)))
    }
}

/// What a record says about itself: attributes for the line alone, and whether to write the body.
struct Given<'py> {
    content: Option<Bound<'py, PyDict>>,
    body: bool,
}

impl LogRecorder {
    fn take<'py>(
        &self,
        py: Python<'py>,
        record: &Bound<'py, PyAny>,
        foreign: bool,
    ) -> PyResult<Option<Given<'py>>> {
        if !record.get_type().is(self.event.bind(py)) {
            return Ok(foreign.then_some(Given { content: None, body: true }));
        }
        if !record.getattr(intern!(py, "durability"))?.is_none() {
            return Ok(None);
        }
        let content = record.getattr(intern!(py, "content"))?;
        let content = if content.is_none() { None } else { Some(content.cast_into()?) };
        let body = !record.getattr(intern!(py, "derives_body"))?.is_truthy()?;
        Ok(Some(Given { content, body }))
    }
}
