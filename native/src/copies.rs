//! Copies of payloads: as they are, as `wakelog.record.kept` makes them, or with nothing to redact in
//! them, as `wakelog.redaction` does.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Limits of a dict that is copied here, and of the containers in it.
const MOST_ITEMS: usize = 32;
const MOST_LEVELS: usize = 8;
/// The length up to which a text is searched as it is, whatever its characters are.
const LONG: usize = 64;
/// The most characters and items of a whole value, which may have one text or dict many times.
const MOST: usize = 1 << 16;
/// The length from which a text in a list of two is no name, and a text under `naming` is left to Python.
const LONGEST_NAME: usize = 64;
/// What is known of a name in the plural, under which a number is no secret.
const SEVERAL: u8 = 2;

/// Limits of a container that is copied as it is, with the containers in it.
const SMALL_ITEMS: usize = 32;
const SMALL_LEVELS: usize = 3;

/// Return a copy of a dict with names as keys; `None` if it is larger, or has other values than plain
/// ones, dicts and lists.
#[pyfunction]
pub fn copy_small<'py>(value: &Bound<'py, PyDict>) -> Option<Bound<'py, PyDict>> {
    copy_map(value, SMALL_LEVELS)
}

fn copy_map<'py>(value: &Bound<'py, PyDict>, levels: usize) -> Option<Bound<'py, PyDict>> {
    let levels = levels.checked_sub(1)?;
    if value.len() > SMALL_ITEMS {
        return None;
    }
    // Nobody else has the copy, so that it does not change meanwhile.
    let copy = value.copy().ok()?;
    let mut inner = Vec::new();
    for (key, child) in copy.iter() {
        if !key.is_exact_instance_of::<PyString>() {
            return None;
        }
        if !is_kept(&child) {
            inner.push((key, copy_inside(&child, levels)?));
        }
    }
    for (key, child) in inner {
        copy.set_item(key, child).ok()?;
    }
    Some(copy)
}

fn copy_inside<'py>(value: &Bound<'py, PyAny>, levels: usize) -> Option<Bound<'py, PyAny>> {
    if let Ok(map) = value.cast_exact::<PyDict>() {
        return copy_map(map, levels).map(Bound::into_any);
    }
    let list = value.cast_exact::<PyList>().ok()?;
    let levels = levels.checked_sub(1)?;
    if list.len() > SMALL_ITEMS {
        return None;
    }
    let copy = list.get_slice(0, SMALL_ITEMS);
    for (at, child) in copy.iter().enumerate() {
        if !is_kept(&child) {
            copy.set_item(at, copy_inside(&child, levels)?).ok()?;
        }
    }
    Some(copy.into_any())
}

/// Return whether a value is kept as it is.
fn is_kept(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyString>()
        || is_plain(value)
        || value.is_exact_instance_of::<PyBytes>()
}

/// Return a copy of a dict of known names with texts, numbers and lists, if nothing in it is redacted.
///
/// `keys` has what is known of names: `False` for one that is not sensitive. `suspect` is the search
/// for what has to be examined, which returns `None` without a result, and `is_secret` says whether
/// a name is sensitive; their exceptions, which may be those of a signal's handler, are passed on.
/// Under one of the names `special`, a value is a secret if a text under one of the names `naming` is
/// a sensitive name.
///
/// Returns `None` for all other values, which are copied and redacted in Python.
#[pyfunction]
pub fn copy_untouched<'py>(
    value: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyDict>,
    suspect: &Bound<'py, PyAny>,
    special: &Bound<'py, PyTuple>,
    naming: &Bound<'py, PyTuple>,
    is_secret: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let (texts, names) = (Vec::new(), Vec::new());
    let mut copier = Copier { keys, special, naming, left: MOST, texts, names };
    let Some(copy) = copier.copy(value, MOST_LEVELS) else {
        return Ok(None);
    };
    for name in copier.names {
        if is_secret.call1((name,))?.is_truthy()? {
            return Ok(None);
        }
    }
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
    naming: &'a Bound<'py, PyTuple>,
    left: usize,
    /// The texts of the copy, which are searched last because that takes longest.
    texts: Vec<Bound<'py, PyString>>,
    /// The texts that are a secret's name if they are sensitive.
    names: Vec<Bound<'py, PyString>>,
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
                    let child = self.copy_container(other.into_inner(), levels)?;
                    inner.push((key, child));
                }
            }
        }
        for (key, child) in inner {
            copy.set_item(key, child).ok()?;
        }
        if self.special.iter_borrowed().any(|name| copy.contains(name).unwrap_or(true)) {
            self.note_names(&copy)?;
        }
        Some(copy)
    }

    /// Note the texts that may say that another value of a dict is a secret.
    fn note_names(&mut self, map: &Bound<'py, PyDict>) -> Option<()> {
        for key in self.naming.iter_borrowed() {
            if let Some(Ok(name)) =
                map.get_item(key).ok()?.map(|name| name.cast_into_exact::<PyString>())
            {
                if name.len().ok()? >= LONGEST_NAME {
                    return None;
                }
                self.names.push(name);
            }
        }
        Some(())
    }

    /// Copy a dict or a list that is inside a container with that many levels.
    fn copy_container(
        &mut self,
        value: Bound<'py, PyAny>,
        levels: usize,
    ) -> Option<Bound<'py, PyAny>> {
        let levels = levels.checked_sub(1)?;
        match value.cast_into_exact::<PyDict>() {
            Ok(map) => self.copy(&map, levels).map(Bound::into_any),
            Err(other) => {
                let list = other.into_inner().cast_into_exact::<PyList>().ok()?;
                self.copy_list(&list, levels).map(Bound::into_any)
            }
        }
    }

    /// Copy a list; `None` if an item may say that the next one is a secret.
    fn copy_list(
        &mut self,
        value: &Bound<'py, PyList>,
        levels: usize,
    ) -> Option<Bound<'py, PyList>> {
        let copy = value.get_slice(0, value.len());
        self.left = self.left.checked_sub(copy.len() + 1)?;
        let mut inner = Vec::new();
        for (at, child) in copy.iter().enumerate() {
            if is_plain(&child) {
                continue;
            }
            match child.cast_into_exact::<PyString>() {
                Ok(text) if text.to_str().ok()?.starts_with('-') => return None,
                Ok(text) => self.note(text)?,
                Err(other) => inner.push((at, self.copy_container(other.into_inner(), levels)?)),
            }
        }
        for (at, child) in inner {
            copy.set_item(at, child).ok()?;
        }
        if copy.len() == 2 {
            if let Ok(name) = copy.get_item(0).ok()?.cast_into_exact::<PyString>() {
                if name.len().ok()? < LONGEST_NAME {
                    self.names.push(name);
                }
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
