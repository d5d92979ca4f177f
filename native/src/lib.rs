//! Compiled encoders for Wakelog: lines of log records and spans, with the writing of ordinary ones,
//! OTLP messages made from lines, and the hashes that seals have of lines.
//!
//! Each function handles ordinary records and lines, and returns `None` for all others, which
//! Wakelog then encodes in Python. Wakelog's tests compare the two byte for byte.

mod copies;
mod cursor;
mod event_line;
mod ids;
mod json;
mod line;
mod log_encoder;
mod ordinary;
mod prepared;
mod protobuf;
mod reading;
mod recorder;
mod salts;
mod sealing;
mod shared_file;
mod span_body;
mod span_encoder;
mod span_event;
mod span_line;
mod times;
mod writer;
mod writer_fields;

use pyo3::prelude::*;

/// The version of this module's interface; Wakelog ignores a module with another one.
const INTERFACE: u32 = 16;

/// Forget what a forked child must not share with its parent.
#[pyfunction]
fn forget() {
    ids::forget();
    salts::forget();
}

#[pymodule]
fn wakelog_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("INTERFACE", INTERFACE)?;
    module.add_class::<line::LineEncoder>()?;
    module.add_class::<span_line::SpanLineEncoder>()?;
    module.add_class::<log_encoder::LogEncoder>()?;
    module.add_class::<prepared::RecordPreparer>()?;
    module.add_class::<writer::LineWriter>()?;
    module.add_class::<writer_fields::WriterFields>()?;
    module.add_class::<recorder::LogRecorder>()?;
    module.add_class::<span_event::SpanEvents>()?;
    module.add_class::<event_line::EventEncoder>()?;
    module.add_class::<writer_fields::SharedFileFields>()?;
    module.add_class::<shared_file::SharedFileWriter>()?;
    module.add_function(wrap_pyfunction!(span_encoder::encode_span, module)?)?;
    module.add_function(wrap_pyfunction!(cursor::take_lines, module)?)?;
    module.add_function(wrap_pyfunction!(copies::copy_untouched, module)?)?;
    module.add_function(wrap_pyfunction!(copies::copy_small, module)?)?;
    module.add_function(wrap_pyfunction!(ids::new_id, module)?)?;
    module.add_function(wrap_pyfunction!(json::dumps, module)?)?;
    module.add_function(wrap_pyfunction!(ordinary::is_ordinary, module)?)?;
    module.add_function(wrap_pyfunction!(line::seal, module)?)?;
    module.add_function(wrap_pyfunction!(sealing::leaves_of, module)?)?;
    module.add_function(wrap_pyfunction!(sealing::root_of, module)?)?;
    module.add_function(wrap_pyfunction!(forget, module)?)?;
    Ok(())
}
