//! Log records that carry their lines, as `wakelog.otel._records.Rebuilder` prepares them.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple, PyType};

use crate::cursor::CRC_LENGTH;
use crate::log_encoder::LogEncoder;
use crate::ordinary::is_ordinary;

/// Prepares the log records of entries for the SDK's batch processor.
#[pyclass(frozen)]
pub struct RecordPreparer {
    encoder: Py<LogEncoder>,
    /// The size of a line above which its record is shortened, and so not encoded here.
    longest: usize,
    /// The class of the entries that are prepared here.
    entry: Py<PyType>,
    /// The classes of the records: the one that carries a line, and the one that is fed.
    line_record: Py<PyAny>,
    prepared: Py<PyAny>,
}

#[pymethods]
impl RecordPreparer {
    #[new]
    fn new(
        encoder: Py<LogEncoder>,
        longest: usize,
        entry: Py<PyType>,
        line_record: Py<PyAny>,
        prepared: Py<PyAny>,
    ) -> Self {
        Self { encoder, longest, entry, line_record, prepared }
    }

    /// Return the records of entries from `start` on, up to the first that is not ordinary, or
    /// has another resource or scope than the first. At most `most` are prepared.
    ///
    /// `ending` is the encoded scope at the end of a line, before its checksum. `rebuild` rebuilds
    /// a record when a field of it is read. Unless `encodes`, records are not encoded.
    #[allow(clippy::too_many_arguments)] // what all records have in common, from one caller
    fn prepare<'py>(
        &self,
        py: Python<'py>,
        entries: &Bound<'py, PyList>,
        start: usize,
        most: usize,
        replayed: bool,
        encodes: bool,
        own: bool,
        ending: &[u8],
        scope: &Bound<'py, PyAny>,
        resource: &Bound<'py, PyAny>,
        rebuild: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let records = PyList::empty(py);
        let stop = entries.len().min(start.saturating_add(most));
        let mut first: Option<Bound<'py, PyAny>> = None;
        for number in start..stop {
            let entry = entries.get_item(number)?;
            if !entry.get_type().is(self.entry.bind(py)) {
                break;
            }
            let items = entry.cast::<PyTuple>()?;
            let line = items.get_item(0)?.cast_into::<PyBytes>()?;
            let theirs = items.get_item(1)?;
            if !ends_with(line.as_bytes(), ending)
                || first.as_ref().is_some_and(|known| !known.is(&theirs))
            {
                break;
            }
            first = Some(theirs);
            let encoded = if encodes {
                match self.encoded(py, items, line.as_bytes(), own, replayed) {
                    Ok(Some(encoded)) => Some(encoded),
                    Ok(None) => break,
                    // It is raised again for this record alone, when those before it are fed.
                    Err(_) if !records.is_empty() => break,
                    Err(error) => return Err(error),
                }
            } else if is_ordinary(line.as_bytes()) {
                None
            } else {
                break;
            };
            let record = self.line_record.call1(py, (rebuild, &entry, replayed, encoded))?;
            records.append(self.prepared.call1(py, (record, resource, scope))?)?;
        }
        Ok(records)
    }
}

impl RecordPreparer {
    fn encoded<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyTuple>,
        line: &[u8],
        own: bool,
        replayed: bool,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        if line.len() > self.longest {
            return Ok(None);
        }
        let writer = items.get_item(2)?.cast_into::<PyString>()?;
        let seq = items.get_item(4)?.extract()?;
        self.encoder.get().encode(py, line, seq, writer.to_str()?, own, replayed)
    }
}

/// Return whether a line ends with a scope and a checksum.
fn ends_with(line: &[u8], scope: &[u8]) -> bool {
    line.len().checked_sub(CRC_LENGTH).is_some_and(|end| line[..end].ends_with(scope))
}
