//! The body of a span's line: the events and links of the span.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyTuple};

use crate::json;
use crate::line::put_attribute;
use crate::span_line::{context_of, put_context, text_of, Classes, Storage};

/// The longest body that is written here, in bytes. It has fewer values than lines may have.
const LONGEST_BODY: usize = 1 << 18;

/// The events or the links of a span, and how many of them the SDK has dropped.
pub struct Items<'py> {
    pub items: Vec<Bound<'py, PyAny>>,
    pub dropped: i64,
}

/// The dict of attributes, if there are any, and how many of them the SDK has dropped.
pub struct Attributes<'py> {
    pub held: Option<Bound<'py, PyDict>>,
    pub dropped: i64,
}

/// Reads and writes events, links and attributes; `None` stands for what is not ordinary.
pub struct Body<'a> {
    pub at: &'a Storage,
    pub sdk: &'a Classes,
    /// The length that the line may have.
    pub longest: usize,
}

impl Body<'_> {
    /// Return the items of the SDK's list of events or links.
    pub fn items_of<'py>(&self, given: &Bound<'py, PyAny>) -> Option<Items<'py>> {
        let py = given.py();
        if given.get_type().is(self.sdk.bounded_list.bind(py)) {
            let items = given.getattr(self.at.queue.bind(py)).ok()?;
            return Some(Items { items: all_of(&items)?, dropped: dropped_of(given)? });
        }
        (given.is_exact_instance_of::<PyTuple>() || given.is_exact_instance_of::<PyList>())
            .then(|| all_of(given))?
            .map(|items| Items { items, dropped: 0 })
    }

    /// Return the attributes of a span, an event or a link.
    pub fn attributes_of<'py>(&self, given: &Bound<'py, PyAny>) -> Option<Attributes<'py>> {
        let py = given.py();
        if given.is_none() {
            return Some(Attributes { held: None, dropped: 0 });
        }
        if given.get_type().is(self.sdk.bounded_attributes.bind(py)) {
            let held = given.getattr(self.at.held.bind(py)).ok()?.cast_into_exact().ok()?;
            return Some(Attributes { held: Some(held), dropped: dropped_of(given)? });
        }
        let held = given.cast_exact().ok()?.clone();
        Some(Attributes { held: Some(held), dropped: 0 })
    }

    /// Write the field of the events and links, if there are any.
    pub fn put(
        &self,
        out: &mut Vec<u8>,
        events: &[Bound<'_, PyAny>],
        links: &[Bound<'_, PyAny>],
    ) -> Option<()> {
        if events.is_empty() && links.is_empty() {
            return Some(());
        }
        out.extend_from_slice(b",\"body\":{");
        let longest = self.longest.min(out.len() + LONGEST_BODY);
        let limited = Body { longest, ..*self };
        if !events.is_empty() {
            out.extend_from_slice(b"\"events\":[");
            limited.put_each(out, events, Self::put_event)?;
        }
        if !links.is_empty() {
            let name: &[u8] = if events.is_empty() { b"\"links\":[" } else { b",\"links\":[" };
            out.extend_from_slice(name);
            limited.put_each(out, links, Self::put_link)?;
        }
        out.push(b'}');
        Some(())
    }

    fn put_each<'py>(
        &self,
        out: &mut Vec<u8>,
        items: &[Bound<'py, PyAny>],
        put: impl Fn(&Self, &mut Vec<u8>, &Bound<'py, PyAny>) -> Option<()>,
    ) -> Option<()> {
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            put(self, out, item)?;
            if out.len() > self.longest {
                return None;
            }
        }
        out.push(b']');
        Some(())
    }

    fn put_event(&self, out: &mut Vec<u8>, event: &Bound<'_, PyAny>) -> Option<()> {
        let py = event.py();
        if !event.get_type().is(self.sdk.event.bind(py)) {
            return None;
        }
        let name = event.getattr(self.at.event_name.bind(py)).ok()?;
        out.extend_from_slice(b"{\"name\":");
        json::put_text(out, text_of(&name)?);
        let time = event.getattr(self.at.event_time.bind(py)).ok()?;
        if !time.is_none() {
            out.extend_from_slice(b",\"timestamp\":");
            json::put_integer(out, time.cast_exact::<PyInt>().ok()?.extract().ok()?);
        }
        self.put_own(out, &event.getattr(self.at.event_attributes.bind(py)).ok()?)
    }

    fn put_link(&self, out: &mut Vec<u8>, link: &Bound<'_, PyAny>) -> Option<()> {
        let py = link.py();
        if !link.get_type().is(self.sdk.link.bind(py)) {
            return None;
        }
        let context = link.getattr(self.at.link_context.bind(py)).ok()?;
        let context = context_of(self.sdk, &context).ok()??;
        if context.has_state {
            return None;
        }
        put_context(out, b"{\"span_id\":\"", &context, None);
        self.put_own(out, &link.getattr(self.at.link_attributes.bind(py)).ok()?)
    }

    /// Write the attributes of an event or a link, and the end of its object.
    fn put_own(&self, out: &mut Vec<u8>, given: &Bound<'_, PyAny>) -> Option<()> {
        let attributes = self.attributes_of(given)?;
        if let Some(held) = &attributes.held {
            self.put_attributes(out, held)?;
        }
        put_count(out, b",\"dropped_attributes\":", attributes.dropped);
        out.push(b'}');
        Some(())
    }

    /// Write the field of attributes, if there are any. No code of Python runs meanwhile, so no
    /// thread changes them.
    pub fn put_attributes(&self, out: &mut Vec<u8>, given: &Bound<'_, PyDict>) -> Option<()> {
        if given.is_empty() {
            return Some(());
        }
        out.extend_from_slice(b",\"attributes\":{");
        let begin = out.len();
        for (key, value) in given.iter() {
            put_attribute(out, begin, key.cast_exact().ok()?, &value, self.longest)?;
        }
        out.push(b'}');
        Some(())
    }
}

/// Write how many attributes, events or links were dropped, if any.
pub fn put_count(out: &mut Vec<u8>, name: &[u8], dropped: i64) {
    if dropped != 0 {
        out.extend_from_slice(name);
        json::put_integer(out, dropped);
    }
}

fn all_of<'py>(items: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    items.try_iter().ok()?.collect::<PyResult<_>>().ok()
}

fn dropped_of(given: &Bound<'_, PyAny>) -> Option<i64> {
    let dropped = given.getattr(intern!(given.py(), "dropped")).ok()?;
    dropped.cast_exact::<PyInt>().ok()?.extract().ok()
}
