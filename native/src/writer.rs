//! The writing of ordinary lines, as `wakelog.journal._writer.Writer.write` does it.

use pyo3::exceptions::{PyAttributeError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

use crate::line::seal_line;
use crate::writer_fields::WriterFields;

/// Writes lines: ordinary ones here, all others with `Writer.write`.
///
/// An ordinary line goes into the open segment with nothing else due. Between taking the lock and
/// the call of the file system no code of Python runs, so no signal handler can come in between.
#[pyclass(frozen)]
pub struct LineWriter {
    /// `Writer.write`.
    other: Py<PyAny>,
    fsync: Py<PyAny>,
    periodic: Py<PyAny>,
    /// One in this many writes is measured, if there is an observer.
    measured: i64,
    /// Returns monotonic time in seconds.
    monotonic: Py<PyAny>,
    /// `time.time`, the usual clock of writers, which runs no code of Python.
    time: Py<PyAny>,
    /// The class of lines that wait for a sync, and `tuple.__new__`, which creates them.
    unsynced: Py<PyType>,
    new_tuple: Py<PyAny>,
}

#[pymethods]
impl LineWriter {
    #[new]
    fn new(
        py: Python<'_>,
        other: Py<PyAny>,
        fsync: Py<PyAny>,
        periodic: Py<PyAny>,
        measured: i64,
        monotonic: Py<PyAny>,
        unsynced: Py<PyType>,
    ) -> PyResult<Self> {
        let time = py.import("time")?.getattr("time")?.unbind();
        let new_tuple = py.get_type::<PyTuple>().getattr("__new__")?.unbind();
        Ok(Self { other, fsync, periodic, measured, monotonic, time, unsynced, new_tuple })
    }

    /// Do what `Writer.write` does.
    #[allow(clippy::too_many_arguments)] // as `Writer.write`
    fn write<'py>(
        &self,
        py: Python<'py>,
        writer: &Bound<'py, PyAny>,
        record_id: &Bound<'py, PyString>,
        content: &Bound<'py, PyAny>,
        resource: &Bound<'py, PyAny>,
        durability: &Bound<'py, PyAny>,
        counted: bool,
    ) -> PyResult<i64> {
        if let Ok(content) = content.cast_exact::<PyBytes>() {
            let mut line = Line::new(writer, record_id, content.as_bytes(), resource, counted)?;
            line.syncs = self.syncs(py, durability);
            line.kept = (counted && durability.is(self.fsync.bind(py))).then_some(content);
            if let Some(seq) = self.try_write(&line)? {
                return Ok(if seq == 0 { -1 } else { seq });
            }
        }
        self.other
            .bind(py)
            .call1((writer, record_id, content, resource, durability, counted))?
            .extract()
    }
}

/// A line to be written, and its writer's fields and other attributes.
pub struct Line<'a, 'py> {
    py: Python<'py>,
    writer: &'a Bound<'py, PyAny>,
    record_id: &'a Bound<'py, PyString>,
    content: &'a [u8],
    resource: &'a Bound<'py, PyAny>,
    counted: bool,
    /// Whether the line has to be synced, and its content, if a caller waits for that.
    syncs: bool,
    kept: Option<&'a Bound<'py, PyBytes>>,
    fields: &'a WriterFields,
    state: Bound<'py, PyDict>,
}

impl LineWriter {
    /// Return whether a line of a durability has to be synced.
    pub fn syncs(&self, py: Python<'_>, durability: &Bound<'_, PyAny>) -> bool {
        durability.is(self.fsync.bind(py)) || durability.is(self.periodic.bind(py))
    }

    /// Write a line and return its number; `None`, with nothing changed, if it is not ordinary.
    pub fn try_write(&self, line: &Line<'_, '_>) -> PyResult<Option<i64>> {
        let py = line.py;
        let size = line.content.len() as i64;
        if line.fields.written.get() + size > line.fields.granted.get() {
            return Ok(None);
        }
        let lock = line.get(intern!(py, "_lock"))?;
        lock.call_method0(intern!(py, "acquire"))?;
        let written = self
            .find_place(line)
            .and_then(|place| place.map(|place| place.append(line)).transpose())
            .and_then(|written| written.map(|written| self.keep(line, written)).transpose());
        lock.call_method0(intern!(py, "release"))?;
        written
    }

    /// Keep a line whose caller waits for its sync, to write it again if that fails; return its number.
    fn keep(&self, line: &Line<'_, '_>, written: (i64, Saves<'_>)) -> PyResult<i64> {
        let (py, (seq, saves)) = (line.py, written);
        if let (Some(content), Some(saves)) = (line.kept, saves) {
            let items = (line.record_id, seq, content, line.resource);
            let unsynced = self.new_tuple.bind(py).call1((&self.unsynced, items))?;
            let name = intern!(py, "_keep_until_synced");
            line.writer.call_method1(name, (unsynced, saves))?;
        }
        Ok(seq)
    }

    /// Return whether the open segment has not reached its last moment, if it has one.
    fn is_within_segment(&self, line: &Line<'_, '_>) -> PyResult<bool> {
        let py = line.py;
        let ends = line.get(intern!(py, "_ends"))?;
        if ends.is_none() {
            return Ok(true);
        }
        let clock = line.get(intern!(py, "_clock"))?;
        if !clock.is(self.time.bind(py)) {
            return Ok(false); // a clock of a test may run code of Python
        }
        let began: f64 = line.get(intern!(py, "_began"))?.extract()?;
        let now: f64 = clock.call0()?.extract()?;
        Ok(began <= now && now < ends.extract()?)
    }

    /// Return where an ordinary line goes. The caller holds the lock.
    fn find_place<'py>(&self, line: &Line<'_, 'py>) -> PyResult<Option<Place<'py>>> {
        let py = line.py;
        if !line.resource.is(&line.get(intern!(py, "_resource"))?)
            || line.fields.closed.get()
            || line.fields.saving.get()
            || !self.is_within_segment(line)?
            || !line.get(intern!(py, "_tick_due"))?.is_none()
        {
            return Ok(None);
        }
        let now: f64 = self.monotonic.bind(py).call0()?.extract()?;
        let place = Place {
            epoch: line.fields.epoch.get(),
            seq: line.fields.seq.get(),
            crc: line.fields.crc.get() as u32,
            offset: line.fields.offset.get(),
            saves: line.kept.map(|_| line.get(intern!(py, "_saves"))).transpose()?,
            file: line.get(intern!(py, "_fd"))?,
            write: line.get(intern!(py, "_fs"))?.getattr(intern!(py, "write"))?,
        };
        let used = place.offset + line.fields.beside.get();
        let measured = (place.seq + i64::from(line.counted)) % self.measured == 0
            && !line.get(intern!(py, "_observer"))?.is_none();
        let ordinary =
            now < line.fields.tick_at.get() && used < line.fields.segment_bytes.get() && !measured;
        Ok(ordinary.then_some(place))
    }
}

/// How many times lines were written again before a line that is kept.
type Saves<'py> = Option<Bound<'py, PyAny>>;

/// The end of a segment: the state of its writer before a line.
struct Place<'py> {
    epoch: i64,
    seq: i64,
    crc: u32,
    offset: i64,
    saves: Saves<'py>,
    file: Bound<'py, PyAny>,
    write: Bound<'py, PyAny>,
}

impl<'py> Place<'py> {
    /// Append a line; return its number, and how often lines had been written again. The caller holds
    /// the lock.
    fn append(self, line: &Line<'_, '_>) -> PyResult<(i64, Saves<'py>)> {
        let py = line.py;
        let seq = self.seq + i64::from(line.counted);
        let (sealed, crc) = seal_line(py, line.record_id, seq, line.content, self.crc)?;
        let size = sealed.as_bytes().len() as i64;
        if line.syncs {
            line.fields.sync_wanted.set(true);
        }
        line.fields.epoch.set(self.epoch + 1);
        line.fields.seq.set(seq);
        line.fields.crc.set(crc.into());
        line.fields.offset.set(self.offset + size);
        let (written, error) = match self.write.call1((self.file, &sealed)) {
            Ok(written) => (written.extract()?, None),
            Err(error) if error.is_instance_of::<PyOSError>(py) => (0, Some(error)),
            Err(error) => return Err(error),
        };
        // Read again, because a signal handler may have recorded during the call.
        let before = line.fields.written.get();
        line.fields.written.set(before + written);
        if written != size {
            let before = (self.epoch, self.seq, self.crc, self.offset);
            line.writer
                .call_method1(intern!(py, "_complete"), (&sealed, written, before, error))?;
        }
        if !line.counted {
            line.fields.sync_alone.set(true);
        }
        Ok((seq, self.saves))
    }
}

impl<'a, 'py> Line<'a, 'py> {
    pub fn new(
        writer: &'a Bound<'py, PyAny>,
        record_id: &'a Bound<'py, PyString>,
        content: &'a [u8],
        resource: &'a Bound<'py, PyAny>,
        counted: bool,
    ) -> PyResult<Self> {
        let py = writer.py();
        let state = writer.getattr(intern!(py, "__dict__"))?.cast_into()?;
        let fields = writer.cast::<WriterFields>()?.get();
        let (syncs, kept) = (false, None);
        Ok(Self { py, writer, record_id, content, resource, counted, syncs, kept, fields, state })
    }

    fn get(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let found = self.state.get_item(name)?;
        found.ok_or_else(|| PyAttributeError::new_err(name.clone().unbind()))
    }
}
