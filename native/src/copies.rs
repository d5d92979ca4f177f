//! Copies of payloads in which nothing has to be redacted, as `wakelog.redaction` makes them.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyDict, PyFloat, PyInt, PyString, PyTuple};

/// Limits of a dict that is copied here, as in Python.
const MOST_ITEMS: usize = 32;
const MOST_LEVELS: usize = 3;
/// The length up to which a text is searched as it is, whatever its characters are.
const LONG: usize = 64;
/// The most characters and items of a whole value, which may have one text or dict many times.
const MOST: usize = 1 << 16;
/// What is known of a name in the plural, under which a number is no secret.
const SEVERAL: u8 = 2;

/// Return a copy of a dict of known names with texts and numbers, if nothing in it is redacted.
///
/// `keys` has what is known of names: `False` for one that is not sensitive. `suspect` is the search
/// for what has to be examined, which returns `None` without a result; its exceptions, which may be
/// those of a signal's handler, are passed on. Under one of the names `special`, a value may be a
/// secret because of another value.
///
/// Returns `None` for all other values, which are copied and redacted in Python.
#[pyfunction]
pub fn copy_untouched<'py>(
    value: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyDict>,
    suspect: &Bound<'py, PyAny>,
    special: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let mut copier = Copier { keys, special, left: MOST, texts: Vec::new() };
    let Some(copy) = copier.copy(value, MOST_LEVELS) else {
        return Ok(None);
    };
    for text in copier.texts {
        if !suspect.call1((text,))?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(copy))
}

struct Copier<'a, 'py> {
    keys: &'a Bound<'py, PyDict>,
    special: &'a Bound<'py, PyTuple>,
    left: usize,
    /// The texts of the copy, which are searched last because that takes longest.
    texts: Vec<Bound<'py, PyString>>,
}

impl<'py> Copier<'_, 'py> {
    fn copy(&mut self, value: &Bound<'py, PyDict>, levels: usize) -> Option<Bound<'py, PyDict>> {
        if value.len() > MOST_ITEMS {
            return None;
        }
        self.left = self.left.checked_sub(value.len() + 1)?;
        // Nobody else has the copy, so that it does not change meanwhile.
        let copy = value.copy().ok()?;
        let mut inner = Vec::new();
        for (key, child) in copy.iter() {
            let key = key.cast_into_exact::<PyString>().ok()?;
            let known = self.keys.get_item(&key).ok()??;
            let plain = is_plain(&child);
            let goes = is_false(&known) || (plain && known.extract::<u8>().ok()? == SEVERAL);
            if !goes {
                return None;
            }
            if plain {
                continue;
            }
            match child.cast_into_exact::<PyString>() {
                Ok(text) => self.note(text)?,
                Err(other) => {
                    let child = other.into_inner().cast_into_exact::<PyDict>().ok()?;
                    inner.push((key, self.copy(&child, levels.checked_sub(1)?)?));
                }
            }
        }
        for (key, child) in inner {
            copy.set_item(key, child).ok()?;
        }
        for name in self.special.iter_borrowed() {
            if copy.contains(name).ok()? {
                return None;
            }
        }
        Some(copy)
    }

    /// Note a text to search; `None` for a long one with other than ASCII characters.
    fn note(&mut self, text: Bound<'py, PyString>) -> Option<()> {
        let length = text.len().ok()?;
        self.left = self.left.checked_sub(length)?;
        let is_short = length <= LONG;
        if !is_short && !text.call_method0(intern!(text.py(), "isascii")).ok()?.is_truthy().ok()? {
            return None;
        }
        self.texts.push(text);
        Some(())
    }
}

fn is_false(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyBool>().is_ok_and(|value| !value.is_true())
}

fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyComplex>()
}
