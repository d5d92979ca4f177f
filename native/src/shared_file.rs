//! The writing of ordinary lines to a shared file, as `wakelog.journal._shared_file` does it.

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};

use crate::event_line::EventEncoder;
use crate::json;
use crate::line::complete;
use crate::writer_fields::SharedFileFields;

/// What all shared files have in common.
#[derive(FromPyObject)]
struct Common {
    /// The durabilities for which lines are synced, now or soon.
    fsync: Py<PyAny>,
    periodic: Py<PyAny>,
    /// Returns monotonic time in seconds, and the time since 1970.
    monotonic: Py<PyAny>,
    time: Py<PyAny>,
    /// Returns the offset of a file.
    lseek: Py<PyAny>,
    /// `tuple.__new__`, and the class of receipts.
    new_tuple: Py<PyAny>,
    receipt: Py<PyType>,
    /// The class of lines that wait for a sync.
    unsynced: Py<PyType>,
}

/// Writes ordinary lines to a shared file: while it is open, its last line is whole and nothing else is
/// due.
///
/// Between taking the lock and the call of the file system no code of Python runs, so no signal handler
/// can come in between.
#[pyclass(frozen)]
pub struct SharedFileWriter {
    file: Py<SharedFileFields>,
    common: Common,
    encoder: Py<EventEncoder>,
    /// The largest middle part of an event in a file that can have blobs, and in any other.
    longest: usize,
    most: usize,
}

#[pymethods]
impl SharedFileWriter {
    #[new]
    fn new(
        file: Py<SharedFileFields>,
        common: Common,
        encoder: Py<EventEncoder>,
        longest: usize,
        most: usize,
    ) -> Self {
        Self { file, common, encoder, longest, most }
    }

    /// Do what `SharedFile.write` does; `None`, with nothing changed, if the line is not ordinary.
    fn write<'py>(
        &self,
        record_id: &Bound<'py, PyString>,
        content: &Bound<'py, PyAny>,
        durability: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match content.cast_exact::<PyBytes>() {
            Ok(content) => self.try_write(record_id, content.as_bytes(), durability),
            Err(_) => Ok(None),
        }
    }

    /// Encode an event and write its line; `None`, with nothing changed, if one is not ordinary.
    fn write_event<'py>(
        &self,
        event: &Bound<'py, PyAny>,
        durability: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let takes_blobs = self.file.get().is_regular.get();
        let longest = if takes_blobs { self.longest } else { self.most };
        let mut out = Vec::with_capacity(1024);
        match self.encoder.get().put(&mut out, event, longest)? {
            Some(id) => self.try_write(&id, &out, durability),
            None => Ok(None),
        }
    }
}

impl SharedFileWriter {
    fn try_write<'py>(
        &self,
        record_id: &Bound<'py, PyString>,
        content: &[u8],
        durability: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = record_id.py();
        let file = self.file.bind(py);
        let Ok(id) = record_id.to_str() else {
            return Ok(None);
        };
        let waits = durability.is(&self.common.fsync);
        let syncs = waits || durability.is(&self.common.periodic);
        let lock = file.getattr(intern!(py, "_lock"))?;
        lock.call_method0(intern!(py, "acquire"))?;
        let written = self
            .find_place(file, id, content)
            .and_then(|place| place.map(|place| self.append(file, place, syncs)).transpose())
            .and_then(|written| {
                written.map(|written| self.keep(file, record_id, written, waits)).transpose()
            });
        lock.call_method0(intern!(py, "release"))?;
        let Some((writer, seq)) = written? else {
            return Ok(None);
        };
        let items = (record_id, writer, seq, durability);
        self.common.new_tuple.bind(py).call1((&self.common.receipt, items)).map(Some)
    }

    /// Return where an ordinary line goes, and the line. The caller holds the lock.
    fn find_place<'py>(
        &self,
        file: &Bound<'py, SharedFileFields>,
        id: &str,
        content: &[u8],
    ) -> PyResult<Option<Place<'py>>> {
        let py = file.py();
        let fields = file.get();
        if fields.closed.get() || fields.saving.get() || fields.torn.get() || fields.fd.get() < 0 {
            return Ok(None);
        }
        let now: f64 = self.common.monotonic.bind(py).call0()?.extract()?;
        if now >= fields.check_at.get() {
            return Ok(None);
        }
        let before = (fields.seq.get(), fields.crc.get() as u32);
        let writer = file.getattr(intern!(py, "_writer"))?.cast_into::<PyString>()?;
        let (line, crc) = sealed(id, before.0 + 1, writer.to_str()?, content, before.1);
        let rotation = file.getattr(intern!(py, "_rotation"))?;
        let rotated = !rotation.is_none();
        if rotated && self.is_due(fields, &rotation, line.len() as i64)? {
            return Ok(None);
        }
        let write = file.getattr(intern!(py, "_fs"))?.getattr(intern!(py, "write"))?;
        let line = PyBytes::new(py, &line);
        let saves = file.getattr(intern!(py, "_saves"))?;
        Ok(Some(Place { before, crc, saves, writer, write, line, rotated }))
    }

    /// Do what `SharedFile._is_due` does.
    fn is_due(
        &self,
        fields: &SharedFileFields,
        rotation: &Bound<'_, PyAny>,
        more: i64,
    ) -> PyResult<bool> {
        let py = rotation.py();
        let most = rotation.getattr(intern!(py, "max_bytes"))?;
        if !most.is_none() && most.lt(fields.size.get() + more)? {
            return Ok(true);
        }
        let due_at = fields.due_at.get();
        Ok(due_at.is_finite() && self.common.time.bind(py).call0()?.extract::<f64>()? >= due_at)
    }

    /// Append a line, which has to be synced if it `syncs`. The caller holds the lock.
    fn append<'py>(
        &self,
        file: &Bound<'py, SharedFileFields>,
        place: Place<'py>,
        syncs: bool,
    ) -> PyResult<Written<'py>> {
        let py = file.py();
        let fields = file.get();
        let seq = place.before.0 + 1;
        if syncs {
            fields.sync_wanted.set(true);
        }
        fields.epoch.set(fields.epoch.get() + 1);
        fields.seq.set(seq);
        fields.crc.set(place.crc.into());
        let (written, error) = match place.write.call1((fields.fd.get(), &place.line)) {
            Ok(written) => (written.extract()?, None),
            Err(error) if error.is_instance_of::<PyOSError>(py) => (0, Some(error)),
            Err(error) => return Err(error),
        };
        if written != place.line.as_bytes().len() {
            let before = (false, place.before.0, place.before.1); // an ordinary line follows no torn one
            let arguments = (written, before, error);
            file.call_method1(intern!(py, "_take_back"), arguments)?;
        }
        if place.rotated {
            let end = self.common.lseek.bind(py).call1((fields.fd.get(), 0, SEEK_CUR))?;
            fields.size.set(end.extract()?);
        }
        Ok(Written { writer: place.writer, seq, saves: place.saves, line: place.line })
    }

    /// Keep a line until it is synced if its caller `waits` for that; return its writer and its number.
    fn keep<'py>(
        &self,
        file: &Bound<'py, SharedFileFields>,
        record_id: &Bound<'py, PyString>,
        written: Written<'py>,
        waits: bool,
    ) -> PyResult<(Bound<'py, PyString>, i64)> {
        let py = file.py();
        if waits {
            let items = (record_id, written.seq, written.line, PyTuple::empty(py)); // no blobs
            let unsynced = self.common.new_tuple.bind(py).call1((&self.common.unsynced, items))?;
            let name = intern!(py, "_keep_until_synced");
            file.call_method1(name, (unsynced, written.saves))?;
        }
        Ok((written.writer, written.seq))
    }
}

const SEEK_CUR: i32 = 1;

/// The end of a file: the number and the checksum of the line before, how often lines were written
/// again, and the line with its checksum.
struct Place<'py> {
    before: (i64, u32),
    crc: u32,
    saves: Bound<'py, PyAny>,
    writer: Bound<'py, PyString>,
    write: Bound<'py, PyAny>,
    line: Bound<'py, PyBytes>,
    rotated: bool,
}

/// A line that was written, its writer, its number, and how often lines had been written again before.
struct Written<'py> {
    writer: Bound<'py, PyString>,
    seq: i64,
    saves: Bound<'py, PyAny>,
    line: Bound<'py, PyBytes>,
}

/// Return a line with its newline, and its checksum.
fn sealed(id: &str, seq: i64, writer: &str, content: &[u8], previous_crc: u32) -> (Vec<u8>, u32) {
    let mut line = Vec::with_capacity(id.len() + writer.len() + content.len() + 96);
    line.extend_from_slice(b"{\"id\":");
    json::put_text(&mut line, id);
    line.extend_from_slice(b",\"seq\":");
    json::put_integer(&mut line, seq);
    line.extend_from_slice(b",\"writer\":");
    json::put_text(&mut line, writer);
    let crc = complete(&mut line, content, previous_crc);
    (line, crc)
}
