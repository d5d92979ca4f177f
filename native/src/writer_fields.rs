//! The fields of a writer that change with every line, where compiled code reaches them at once.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The base class of `wakelog.journal.Writer`: attributes for Python, numbers for Rust.
///
/// The writer's lock guards them; they are atomic because some are read without it.
#[pyclass(subclass, frozen)]
#[derive(Default)]
pub struct WriterFields {
    pub epoch: Number,
    pub seq: Number,
    pub crc: Number,
    pub offset: Number,
    pub beside: Number,
    pub segment_bytes: Number,
    pub written: Number,
    pub granted: Number,
    pub tick_at: Time,
    pub closed: Flag,
    pub saving: Flag,
    pub sync_wanted: Flag,
    pub sync_alone: Flag,
}

/// The base class of `wakelog.journal.SharedFile`, likewise.
#[pyclass(subclass, frozen)]
#[derive(Default)]
pub struct SharedFileFields {
    pub epoch: Number,
    pub seq: Number,
    pub crc: Number,
    pub fd: Number,
    pub size: Number,
    pub check_at: Time,
    pub due_at: Time,
    pub closed: Flag,
    pub saving: Flag,
    pub torn: Flag,
    pub is_regular: Flag,
    pub sync_wanted: Flag,
}

#[derive(Default)]
pub struct Number(AtomicI64);

#[derive(Default)]
pub struct Time(AtomicU64);

#[derive(Default)]
pub struct Flag(AtomicBool);

impl Number {
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Time {
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

impl Flag {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }
}

macro_rules! attributes {
    ($class:ident; $($attribute:ident, $get:ident, $set:ident, $field:ident, $kind:ty;)*) => {
        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (*_arguments, **_named))]
            fn new(
                _arguments: &Bound<'_, PyTuple>,
                _named: Option<&Bound<'_, PyDict>>,
            ) -> Self {
                Self::default()
            }

            $(
                #[getter($attribute)]
                fn $get(&self) -> $kind {
                    self.$field.get()
                }

                #[setter($attribute)]
                fn $set(&self, value: $kind) {
                    self.$field.set(value);
                }
            )*
        }
    };
}

attributes! {
    WriterFields;
    _epoch, get_epoch, set_epoch, epoch, i64;
    _seq, get_seq, set_seq, seq, i64;
    _crc, get_crc, set_crc, crc, i64;
    _offset, get_offset, set_offset, offset, i64;
    _beside, get_beside, set_beside, beside, i64;
    _segment_bytes, get_segment_bytes, set_segment_bytes, segment_bytes, i64;
    _written, get_written, set_written, written, i64;
    _granted, get_granted, set_granted, granted, i64;
    _tick_at, get_tick_at, set_tick_at, tick_at, f64;
    _closed, get_closed, set_closed, closed, bool;
    _saving, get_saving, set_saving, saving, bool;
    _sync_wanted, get_sync_wanted, set_sync_wanted, sync_wanted, bool;
    _sync_alone, get_sync_alone, set_sync_alone, sync_alone, bool;
}

attributes! {
    SharedFileFields;
    _epoch, get_epoch, set_epoch, epoch, i64;
    _seq, get_seq, set_seq, seq, i64;
    _crc, get_crc, set_crc, crc, i64;
    _fd, get_fd, set_fd, fd, i64;
    _size, get_size, set_size, size, i64;
    _check_at, get_check_at, set_check_at, check_at, f64;
    _due_at, get_due_at, set_due_at, due_at, f64;
    _closed, get_closed, set_closed, closed, bool;
    _saving, get_saving, set_saving, saving, bool;
    _torn, get_torn, set_torn, torn, bool;
    _is_regular, get_is_regular, set_is_regular, is_regular, bool;
    _sync_wanted, get_sync_wanted, set_sync_wanted, sync_wanted, bool;
}
